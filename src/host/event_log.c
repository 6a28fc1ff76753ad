/* SPDX-License-Identifier: Apache-2.0 */
/* event_log.c - see event_log.h. */
#include "host/event_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/numbered.h"

/* Texts of an event: key, where it is, and how much of it is kept. Together they fit a line, whatever is in them. */
static const struct text {
    const char *key;
    size_t offset;
    size_t max;
} texts[] = {
    {"type", offsetof(struct bx_event, type), 40},
    {"box", offsetof(struct bx_event, box), 64},
    {"name", offsetof(struct bx_event, name), 130},
    {"image", offsetof(struct bx_event, image), 512},
    {"exec", offsetof(struct bx_event, exec), 64},
    {"program", offsetof(struct bx_event, program), 64},
    {"health", offsetof(struct bx_event, health), 16},
    {"message", offsetof(struct bx_event, message), 512},
};

static const char **text_of(const struct bx_event *e, const struct text *t)
{
    return (const char **)((char *)(uintptr_t)e + t->offset);
}

/* ---- writing ---- */

void bx_event_log_open(struct bx_event_log *l, int dir_fd)
{
    *l = BX_EVENT_LOG_INIT;
    l->dir_fd = dir_fd;
}

void bx_event_log_close(struct bx_event_log *l)
{
    l->fd = bx_close(l->fd);
    l->dir_fd = bx_close(l->dir_fd);
}

static int open_number(struct bx_event_log *l, uint32_t number, int flags)
{
    char name[BX_NUMBERED_NAME_MAX];
    int fd;

    bx_numbered_name(name, BX_EVENT_PREFIX, number);
    fd = openat(l->dir_fd, name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0)
        return -errno;
    bx_close(l->fd);
    l->fd = fd;
    l->number = number;
    return 0;
}

/* Opens the file that the next line belongs to. */
static int find_file(struct bx_event_log *l)
{
    struct stat st;
    int64_t last;
    int r;

    if (l->fd >= 0 && fstat(l->fd, &st) == 0 && st.st_nlink > 0 && st.st_size < BX_EVENT_FILE_MAX)
        return 0;
    last = bx_numbered_last(l->dir_fd, BX_EVENT_PREFIX);
    if (last < 0)
        return (int)last;
    /* One that was there and is gone is too old to be begun again: this event is lost, the next one finds its file. */
    r = last > 0 ? open_number(l, (uint32_t)last, 0) : open_number(l, 1, O_CREAT);
    if (r < 0 || fstat(l->fd, &st) < 0 || st.st_size < BX_EVENT_FILE_MAX)
        return r;
    if (l->number >= BX_NUMBERED_MAX)
        return -EOVERFLOW;
    r = open_number(l, l->number + 1, O_CREAT);
    if (r == 0 && l->number > BX_EVENT_FILES)
        bx_numbered_reap(l->dir_fd, BX_EVENT_PREFIX, l->number - BX_EVENT_FILES + 1);
    return r;
}

static void write_text(struct bx_jw *w, const struct text *t, const char *value)
{
    char clean[513];
    size_t n = strnlen(value, t->max);

    while (n > 0 && n == t->max && (value[n] & 0xc0) == 0x80) /* not within a character */
        n--;
    bx_str_printable(clean, t->max + 1, value, n);
    bx_jw_str(w, t->key, clean);
}

static int make_line(const struct bx_event *e, struct bx_buf *out)
{
    struct bx_jw w;

    bx_jw_init(&w, out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_i64(&w, "time", e->time_ns ? e->time_ns : bx_realtime());
    for (size_t i = 0; i < BX_ARRAY_SIZE(texts); i++)
        if (*text_of(e, &texts[i]) && **text_of(e, &texts[i]))
            write_text(&w, &texts[i], *text_of(e, &texts[i]));
    if (e->has_exit)
        bx_jw_i64(&w, "exit_code", e->exit_code);
    if (e->oom)
        bx_jw_bool(&w, "oom", true);
    bx_jw_end(&w);
    return bx_jw_finish(&w, NULL) < 0 || bx_buf_addstr(out, "\n") < 0 ? -EINVAL : 0;
}

int bx_event_log_add(struct bx_event_log *l, const struct bx_event *e)
{
    bx_cleanup_buf struct bx_buf line = BX_BUF_INIT(BX_EVENT_LINE_MAX);
    ssize_t n;
    int r;

    if (l->dir_fd < 0)
        return -EBADF;
    r = make_line(e, &line);
    if (r == 0)
        r = find_file(l);
    if (r < 0)
        return r;
    do {
        n = write(l->fd, bx_buf_data(&line), bx_buf_len(&line));
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)bx_buf_len(&line))
        return 0;
    r = n < 0 ? -errno : -ENOSPC;
    if (n > 0 && write(l->fd, "\n", 1) < 0) /* half a line: what others write next must not stand behind it */
        r = -errno;
    return r;
}

/* ---- reading ---- */

int bx_event_parse(const char *line, size_t len, struct bx_json *doc, struct bx_event *ret, struct bx_err *err)
{
    static const struct bx_json_limits limits = {.bytes = BX_EVENT_LINE_MAX, .depth = 4, .values = 64};
    struct bx_event e = {0};
    int64_t code = 0;
    int r = bx_json_parse(line, len, &limits, "event", doc, err);

    if (r < 0)
        return r;
    if ((r = bx_json_i64(doc, "time", 0, INT64_MAX, &e.time_ns, err)) < 0)
        return r;
    for (size_t i = 0; i < BX_ARRAY_SIZE(texts); i++)
        if ((r = bx_json_opt_str(doc, texts[i].key, BX_EVENT_LINE_MAX, text_of(&e, &texts[i]), err)) < 0)
            return r;
    if ((r = bx_json_opt_i64(doc, "exit_code", INT32_MIN, INT32_MAX, &code, err)) < 0)
        return r;
    e.has_exit = r > 0;
    e.exit_code = (int)code;
    if ((r = bx_json_opt_bool(doc, "oom", &e.oom, err)) < 0)
        return r;
    if (!e.type)
        return bx_json_fail(doc, err, "has no type");
    *ret = e;
    return 0;
}
