/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_init.c - a guest whose root is the enemy: PID 1 of a machine for risk_hostile.c.
 *
 * It parks as the agent does. Then, by the first byte on the control port:
 *   'C'  answers "sum <hex>", a checksum over memory that was filled before parking
 *   'A'  attacks: all memory, the disk, both ports, then (after its drivers are unbound) every register of every virtio-mmio slot,
 *        the firmware configuration device, all I/O ports; the next 4 bytes are the random seed
 * Static, one thread, no library of ours: it is as foreign as a real guest.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PATTERN (8u << 20)
#define MMIO_BASE 0xfeb00000ul
#define SLOT 0x200u
#define SLOTS 24u
#define MMIO_SIZE (SLOT * SLOTS)

static uint32_t *pattern;
static int control = -1;
static int bulk = -1;
static uint64_t seed;

static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static void console(const char *s)
{
    int fd = open("/dev/console", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, s, strlen(s));
        close(fd);
    }
}

static void say(const char *s)
{
    (void)!write(control, s, strlen(s));
}

static int find_port(const char *want)
{
    DIR *d = opendir("/sys/class/virtio-ports");
    struct dirent *e;
    int found = -1;

    while (d && found < 0 && (e = readdir(d))) {
        char path[320];
        char name[64] = "";
        int fd;

        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        (void)!read(fd, name, sizeof(name) - 1);
        close(fd);
        name[strcspn(name, "\n")] = '\0';
        if (strcmp(name, want) != 0)
            continue;
        snprintf(path, sizeof(path), "/dev/%s", e->d_name);
        found = open(path, O_RDWR | O_CLOEXEC);
    }
    if (d)
        closedir(d);
    return found;
}

static void load_modules(void)
{
    char names[32][64];
    int n = 0;
    DIR *d = opendir("/lib/modules");
    struct dirent *e;

    while (d && n < 32 && (e = readdir(d))) {
        if (e->d_name[0] != '.' && strlen(e->d_name) < 64)
            snprintf(names[n++], 64, "%.63s", e->d_name);
    }
    for (char c = '0'; c <= '9'; c++) { /* NN-name.ko: at most ten groups, in order within them */
        for (char u = '0'; u <= '9'; u++) {
            for (int i = 0; i < n; i++) {
                char path[128];
                int fd;

                if (names[i][0] != c || names[i][1] != u)
                    continue;
                snprintf(path, sizeof(path), "/lib/modules/%.63s", names[i]);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
                    console("module failed\n");
                close(fd);
            }
        }
    }
}

/* Ports come some time after their module: each announces itself by a uevent. */
static void open_ports(int uevents)
{
    char buf[8192];

    for (;;) {
        if (control < 0)
            control = find_port("boxlite.control");
        if (bulk < 0)
            bulk = find_port("boxlite.bulk");
        if (control >= 0 && bulk >= 0)
            return;
        (void)!recv(uevents, buf, sizeof(buf), 0);
    }
}

/* Memory: as much as there is, and a pattern that another box must still find. */
static void attack_memory(void)
{
    struct sysinfo si;
    size_t size;
    uint32_t *p;

    sysinfo(&si);
    size = (size_t)(si.freeram * si.mem_unit) / 10 * 9;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; p != MAP_FAILED && i < size / 4; i += 16)
        p[i] = rnd();
    for (size_t i = 0; i < PATTERN / 4; i++)
        pattern[i] = 0xdeadbeef;
    say("memory ");
    if (p != MAP_FAILED) /* given back: pages the guest frees must not be punched either */
        (void)munmap(p, size);
}

static void attack_disk(void)
{
    static uint8_t buf[65536];
    uint64_t range[2] = { 0, 0 };
    int fd = open("/dev/vda", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return;
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (uint8_t)rnd();
    (void)ioctl(fd, BLKGETSIZE64, &range[1]);
    for (uint64_t at = 0; at + sizeof(buf) <= range[1] && at < 64u << 20; at += 1u << 20)
        (void)!pwrite(fd, buf, sizeof(buf), (off_t)at);
    (void)fsync(fd);
    (void)ioctl(fd, BLKDISCARD, range);
    (void)ioctl(fd, BLKZEROOUT, range);
    (void)fsync(fd);
    close(fd);
    say("disk ");
}

static void attack_ports(void)
{
    static uint8_t buf[32768];

    for (int round = 0; round < 8; round++) {
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = (uint8_t)rnd();
        (void)!write(bulk, buf, sizeof(buf));
        (void)!write(control, buf, sizeof(buf) / 8);
    }
    say("ports ");
}

static void unbind_drivers(void)
{
    DIR *d = opendir("/sys/bus/platform/drivers/virtio-mmio");
    int fd = open("/sys/bus/platform/drivers/virtio-mmio/unbind", O_WRONLY | O_CLOEXEC);
    struct dirent *e;

    while (d && fd >= 0 && (e = readdir(d))) {
        if (strncmp(e->d_name, "LNRO0005:", 9) == 0)
            (void)!write(fd, e->d_name, strlen(e->d_name));
    }
}

static void attack_registers(void)
{
    int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
    volatile uint32_t *mmio = fd < 0 ? MAP_FAILED : mmap(NULL, MMIO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)MMIO_BASE);

    if (mmio == MAP_FAILED) {
        console("no /dev/mem: ");
        console(strerror(errno));
        console("\n");
        return;
    }
    console("attack: registers\n");
    for (int round = 0; round < 200; round++) {
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            volatile uint32_t *reg = mmio + slot * SLOT / 4;

            if (round % 4 == 0) { /* a believable device set-up with random queues: it gets further than noise */
                reg[0x70 / 4] = 0;
                reg[0x70 / 4] = 0x3;
                reg[0x24 / 4] = 1;
                reg[0x20 / 4] = 1;
                reg[0x70 / 4] = 0xb;
                for (uint32_t queue = 0; queue < 4; queue++) {
                    reg[0x30 / 4] = queue;
                    reg[0x38 / 4] = 1u << (rnd() % 9);
                    reg[0x80 / 4] = rnd() % (448u << 20) & ~4095u;
                    reg[0x84 / 4] = 0;
                    reg[0x90 / 4] = rnd() % (448u << 20) & ~4095u;
                    reg[0x94 / 4] = 0;
                    reg[0xa0 / 4] = rnd() % (448u << 20) & ~4095u;
                    reg[0xa4 / 4] = 0;
                    reg[0x44 / 4] = 1;
                }
                reg[0x70 / 4] = 0xf;
                for (uint32_t queue = 0; queue < 4; queue++)
                    reg[0x50 / 4] = queue;
            }
            for (unsigned i = 0; i < 64; i++)
                reg[rnd() % (SLOT / 4)] = rnd() % 3 ? rnd() : rnd() % 8;
            (void)reg[rnd() % (SLOT / 4)];
        }
    }
}

static void attack_io_ports(void)
{
    if (iopl(3))
        return;
    console("attack: firmware configuration\n");
    for (int i = 0; i < 100; i++) {
        outw((uint16_t)(rnd() % 64), 0x510);
        (void)inb(0x511);
        outb((uint8_t)rnd(), 0x511);
        outl(rnd() & 0x1fffffffu, 0x518); /* DMA address, big-endian on the wire: anything */
    }
    console("attack: ports\n");
    for (unsigned port = 0; port < 0x10000; port++) {
        if (port == 0x64 || port == 0xcf9 || port == 0x92 || (port >= 0x3f8 && port <= 0x3ff))
            continue; /* reset and the console: they would only end the attack */
        outb((uint8_t)rnd(), (uint16_t)port);
    }
}

static void attack(void)
{
    (void)!read(control, &seed, 4);
    seed |= 0x9e3779b900000000ull;
    attack_memory();
    attack_disk();
    attack_ports();
    unbind_drivers();
    attack_registers();
    attack_io_ports();
    console("attack: over\n");
    for (;;)
        pause();
}

static void check(void)
{
    char text[64];
    uint64_t sum = 1469598103934665603ull;

    for (size_t i = 0; i < PATTERN / 4; i++)
        sum = (sum ^ pattern[i]) * 1099511628211ull;
    snprintf(text, sizeof(text), "sum %016llx\n", (unsigned long long)sum);
    say(text);
}

int main(void)
{
    struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
    int uevents = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    char c;

    (void)mount("proc", "/proc", "proc", 0, NULL);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    (void)bind(uevents, (struct sockaddr *)&addr, sizeof(addr));
    load_modules();
    open_ports(uevents);
    pattern = mmap(NULL, PATTERN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; i < PATTERN / 4; i++)
        pattern[i] = i * 2654435761u;
    console("boxlite-guest: parked\n");
    for (;;) {
        struct pollfd p = { .fd = control, .events = POLLIN };

        if (poll(&p, 1, -1) < 1 || read(control, &c, 1) != 1)
            continue;
        if (c == 'A')
            attack();
        if (c == 'C')
            check();
    }
}
