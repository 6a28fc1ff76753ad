/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - this program's link to a running box (private). */
#ifndef BX_RUNTIME_CONN_H
#define BX_RUNTIME_CONN_H

#include "runtime/box.h"
#include "wire/link.h"

struct bx_request;

/* err NULL: Ok came. The request is freed after the call. `conn` may be going away (err says so). */
typedef void bx_answer_fn(void *ud, const struct bx_err *err);

struct bx_conn {
    struct bx_box *box; /* holds a reference */
    int fd;
    struct bx_source *source;
    struct bx_source *timer; /* deadline of the greeting, or of the start */
    struct bx_link link;
    bool ours; /* the socketpair of a shim that we spawned */
    bool hello;
    bool has_files; /* it knows FileOp */
    bool has_pause; /* ... and BoxPause */
    bool has_policy; /* ... and NetPolicy */
    bool up;     /* BoxInfo said running */
    bool broken; /* writing failed; the loop will tell */
    bool has_gone;
    boxlite_BoxGone gone_msg;
    uint32_t next_stream, next_request;
    struct bx_request *requests;
};

/* Takes fd (also on failure). Greets at once; `ours` waits for the box's own BoxInfo, else asks for it. The
 * box's phase becomes CONNECTING. deadline: bx_now() by which it must be up. */
int bx_conn_open(struct bx_box *b, int fd, bool ours, int64_t deadline, struct bx_err *err);
/* Closes and frees; requests are answered with `why`. */
void bx_conn_close(struct bx_box *b, const struct bx_err *why);

/* Numbers a request and remembers who wants the answer. 0 when memory is short. */
uint32_t bx_conn_request(struct bx_conn *c, bx_answer_fn *fn, void *ud);
/* The same for BoxInfoGet, which BoxInfo itself answers. */
uint32_t bx_conn_request_info(struct bx_conn *c, bx_answer_fn *fn, void *ud);
/* Ok (err NULL) or Error came for a request. */
void bx_conn_answer(struct bx_conn *c, uint32_t id, const struct bx_err *err);
/* An Error as ours; its text is made printable. */
void bx_conn_error(const boxlite_Error *m, struct bx_err *ret);
/* Nobody wants the answers for this ud any more. */
void bx_conn_forget(struct bx_conn *c, void *ud);
uint32_t bx_conn_stream(struct bx_conn *c);
/* Writes what is queued, as far as the socket takes it. */
void bx_conn_flush(struct bx_conn *c);

#endif
