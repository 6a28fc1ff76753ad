/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.c - the command line of a machine. Pure: a configuration in, strings out.
 *
 * What is said here decides the guest's hardware; template and restored box must say the same (only the backends of disk
 * and state differ). Choices that were measured, not guessed:
 *   cpu max,erms=off,fsrm=off   without the promise of fast string moves guest code uses vector copies, which TCG runs several
 *                               times faster
 *   vmx=off,svm=off             no nested virtualisation: the kernel's shadow page tables for it are where guests have escaped, and
 *                               "host" has it on by default (TCG emulates SVM only)
 *   tsc_early_khz, tsc=reliable without them the boot hangs under load, or the guest's clock falls back to ticks
 *   rtc=on                      without it the kernel waits a second for a clock that is not there
 *   tb-size=64                  translated code that does not fit is thrown away, all of it: with 32 MiB every tenth python did so
 *   init_on_alloc=0             pages of pipes and ports are overwritten anyway: a sixth of the speed of stdout
 *   transparent_hugepage=never  an emulated TLB gains nothing by them, and each costs 2 MiB of copied template
 *   lsm=landlock,yama,bpf       what a workload may want; AppArmor without a profile is only more code to translate
 *   no network, balloon or random device: none is needed, each is surface
 */
#include <inttypes.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/str.h"
#include "vm/internal.h"

struct builder {
    char **v;
    bool failed;
};

static void add(struct builder *b, const char *s)
{
    if (!s || (!b->failed && bx_strv_add(&b->v, s)))
        b->failed = true;
}

/* Takes a heap string. */
static void add_heap(struct builder *b, char *s)
{
    bx_cleanup_free char *owned = s;

    add(b, owned);
}

static void add2(struct builder *b, const char *option, const char *value)
{
    add(b, option);
    add(b, value);
}

static void add_machine(struct builder *b, const struct bx_vm_args *a)
{
    const struct bx_vm_shape *s = a->shape;
    bool tcg = s->engine == BX_ENGINE_TCG;

    add2(b, "-M", tcg ? "microvm,x-option-roms=off,isa-serial=on,rtc=on,pit=off,pic=off,memory-backend=m,suppress-vmdesc=on"
                      : "microvm,x-option-roms=off,isa-serial=on,rtc=on,pit=off,pic=off,memory-backend=m,"
                        "suppress-vmdesc=on,kernel-irqchip=on");
    add2(b, "-accel", tcg ? "tcg,tb-size=64" : "kvm");
    add2(b, "-cpu", tcg ? "max,erms=off,fsrm=off,svm=off" : "host,vmx=off,svm=off");
    add(b, "-m");
    add_heap(b, bx_strf("%u", s->memory_mib));
    add(b, "-smp");
    add_heap(b, bx_strf("%u", s->cpus));
    add(b, "-object");
    add_heap(b, bx_strf("memory-backend-file,id=m,size=%uM,mem-path=/@ram/%d,share=%s", s->memory_mib, BX_QFD_MEM,
                        a->mode == BX_QEMU_MAKE ? "on" : "off"));
    add(b, "-nodefaults");
    add(b, "-no-user-config");
    add2(b, "-display", "none");
    add(b, "-no-reboot");
}

static void add_disk(struct builder *b, const struct bx_vm_args *a)
{
    if (a->mode == BX_QEMU_MAKE && !a->disk) {
        add(b, "-blockdev");
        add_heap(b, bx_strf("driver=null-co,node-name=d0,size=%llu,read-zeroes=on", BX_QEMU_TEMPLATE_DISK));
    } else {
        add(b, "-add-fd");
        add_heap(b, bx_strf("fd=%d,set=1", BX_QFD_DISK));
        if (a->base) {
            add(b, "-add-fd");
            add_heap(b, bx_strf("fd=%d,set=2", BX_QFD_BASE));
            add2(b, "-blockdev", "driver=file,filename=/dev/fdset/2,node-name=bf,read-only=on,locking=off");
            add2(b, "-blockdev", "driver=raw,file=bf,node-name=b0,read-only=on");
        }
        add2(b, "-blockdev", "driver=file,filename=/dev/fdset/1,node-name=f0,locking=off,discard=unmap");
        add2(b, "-blockdev", a->base ? "driver=qcow2,file=f0,node-name=d0,discard=unmap,backing=b0"
                                     : "driver=qcow2,file=f0,node-name=d0,discard=unmap");
    }
    add2(b, "-device", "virtio-blk-device,drive=d0,id=blk0,logical_block_size=512,physical_block_size=4096,"
                       "discard_granularity=4096,serial=boxlite-root");
}

static void add_ports(struct builder *b)
{
    add2(b, "-device", "virtio-serial-device,max_ports=4");
    add(b, "-chardev");
    add_heap(b, bx_strf("socket,id=c0,fd=%d", BX_QFD_CONTROL));
    add2(b, "-device", "virtserialport,chardev=c0,name=boxlite.control,nr=1");
    add(b, "-chardev");
    add_heap(b, bx_strf("socket,id=c1,fd=%d", BX_QFD_BULK));
    add2(b, "-device", "virtserialport,chardev=c1,name=boxlite.bulk,nr=2");
    add2(b, "-chardev", "stdio,id=con,signal=off");
    add2(b, "-serial", "chardev:con");
    add(b, "-chardev");
    add_heap(b, bx_strf("socket,id=q,fd=%d", BX_QFD_QMP));
    add2(b, "-mon", "chardev=q,mode=control");
}

static void add_boot(struct builder *b, const struct bx_vm_args *a)
{
    static const char common[] = "console=ttyS0 reboot=t panic=-1 quiet audit=0 random.trust_cpu=1 8250.nr_uarts=1";
    const char *root = a->disk ? " " BX_GUEST_ROOT_WORD "=1" : ""; /* the kernel hands it to the agent as a variable */
    const char *network = a->shape->network ? " " BX_GUEST_NETWORK_WORD "=1" : "";

    add2(b, "-kernel", a->kernel);
    add2(b, "-initrd", a->initramfs);
    add(b, "-append");
    /* Speculation is not emulated: mitigations would only cost. The agent starts the other CPUs (guest/boot.c tells why). */
    if (a->shape->engine == BX_ENGINE_TCG)
        add_heap(b, bx_strf("%s tsc_early_khz=%" PRIu64 " tsc=reliable no_timer_check nokaslr mitigations=off maxcpus=1"
                            " init_on_alloc=0 transparent_hugepage=never lsm=landlock,yama,bpf%s%s",
                            common, a->shape->tsc_khz, root, network));
    else
        add_heap(b, bx_strf("%s%s%s", common, root, network));
}

char **bx_vm_args_build(const struct bx_vm_args *a)
{
    struct builder b = { 0 };

    add(&b, a->qemu);
    add2(&b, "-name", "boxlite");
    add_machine(&b, a);
    add_disk(&b, a);
    add_ports(&b);
    if (a->shape->engine == BX_ENGINE_TCG && !a->unfiltered) /* the KVM-only binary is built without it; our own filters are tighter */
        add2(&b, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    add2(&b, "-global", "migration.send-configuration=off");
    if (a->mode == BX_QEMU_MAKE) {
        add_boot(&b, a);
    } else {
        add(&b, "-incoming");
        add_heap(&b, bx_strf("fd:%d", BX_QFD_STATE));
    }
    if (!b.failed)
        return b.v;
    bx_strv_free(b.v);
    return NULL;
}
