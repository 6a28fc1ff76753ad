/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - JSON from files and other programs, read strictly; JSON written without surprises.
 *
 * Reading: the text is refused when it is too long, too deep, has too many values, a duplicate key, a NUL or
 * bytes that are not UTF-8. A `struct bx_json` is a view of one value that knows where it hangs (views are
 * plain values on the caller's stack; a parent outlives its children), so that every error names the path:
 * "plan: vm.cpus must be ...". Every getter states a maximum. The only file that includes <jansson.h> is
 * json.c.
 */
#ifndef BX_HOST_JSON_H
#define BX_HOST_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct json_t;

struct bx_json {
    struct json_t *v;
    const struct bx_json *up; /* NULL: the document */
    const char *key;          /* NULL: an item of an array. Of the document: what it is, for messages */
    size_t index;
};

struct bx_json_limits {
    size_t bytes;
    unsigned depth;
    size_t values; /* bounds memory: one value costs at most some 400 bytes */
};
#define BX_JSON_LIMITS ((struct bx_json_limits){.bytes = 1024 * 1024, .depth = 32, .values = 65536})

/* limits NULL = BX_JSON_LIMITS. `what` ("manifest") is borrowed and begins every message. Errors are
 * -BX_EINVALID. */
int bx_json_parse(const char *text, size_t len, const struct bx_json_limits *limits, const char *what,
                  struct bx_json *ret, struct bx_err *err);
/* Frees the document (root view only). Accepts a zeroed one. */
void bx_json_done(struct bx_json *root);
#define bx_cleanup_json BX_CLEANUP(bx_json_done)

/* --- one value ---  0 or -BX_EINVALID. Strings are borrowed from the document and hold no NUL. */

int bx_json_as_obj(const struct bx_json *j, struct bx_err *err);
int bx_json_as_str(const struct bx_json *j, size_t max, const char **ret, struct bx_err *err);
int bx_json_as_u64(const struct bx_json *j, uint64_t min, uint64_t max, uint64_t *ret, struct bx_err *err);
int bx_json_as_i64(const struct bx_json *j, int64_t min, int64_t max, int64_t *ret, struct bx_err *err);
int bx_json_as_bool(const struct bx_json *j, bool *ret, struct bx_err *err);

bool bx_json_is_str(const struct bx_json *j);
bool bx_json_is_obj(const struct bx_json *j);
bool bx_json_is_arr(const struct bx_json *j);

/* --- by key, required ---  missing, null or of another type is an error. */

int bx_json_str(const struct bx_json *o, const char *key, size_t max, const char **ret, struct bx_err *err);
int bx_json_u64(const struct bx_json *o, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
                struct bx_err *err);
int bx_json_i64(const struct bx_json *o, const char *key, int64_t min, int64_t max, int64_t *ret,
                struct bx_err *err);
int bx_json_bool(const struct bx_json *o, const char *key, bool *ret, struct bx_err *err);
int bx_json_obj(const struct bx_json *o, const char *key, struct bx_json *ret, struct bx_err *err);
int bx_json_arr(const struct bx_json *o, const char *key, size_t max_items, struct bx_json *ret,
                size_t *ret_n, struct bx_err *err);

/* --- by key, optional ---  1 when present, 0 when missing or null (ret as said), negative when of another
 * type. */

int bx_json_opt_str(const struct bx_json *o, const char *key, size_t max, const char **ret,
                    struct bx_err *err); /* NULL */
int bx_json_opt_u64(const struct bx_json *o, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
                    struct bx_err *err); /* untouched */
int bx_json_opt_i64(const struct bx_json *o, const char *key, int64_t min, int64_t max, int64_t *ret,
                    struct bx_err *err);                                                       /* untouched */
int bx_json_opt_bool(const struct bx_json *o, const char *key, bool *ret, struct bx_err *err); /* untouched */
int bx_json_opt_obj(const struct bx_json *o, const char *key, struct bx_json *ret,
                    struct bx_err *err); /* v NULL */
int bx_json_opt_arr(const struct bx_json *o, const char *key, size_t max_items, struct bx_json *ret,
                    size_t *ret_n, struct bx_err *err); /* v NULL, 0 items */
/* An array of strings as a heap list (bx_strv_free); NULL when missing or null; an empty array gives an empty
 * list. */
int bx_json_opt_strv(const struct bx_json *o, const char *key, size_t max_items, size_t max_len, char ***ret,
                     struct bx_err *err);

/* Item i of an array (i below the number the getter gave). */
struct bx_json bx_json_item(const struct bx_json *arr, size_t i);
size_t bx_json_len(const struct bx_json *j); /* items of an array, keys of an object, else 0 */

/* All keys of an object in turn: `void *it = NULL; while (bx_json_next(o, &it, &value)) ... value.key ...` */
bool bx_json_next(const struct bx_json *o, void **it, struct bx_json *ret);

/* Refuses keys that are not in the NULL-terminated list. */
int bx_json_only_keys(const struct bx_json *o, const char *const *known, struct bx_err *err);

/* An error at this place: "<what>: <path> <text>". For checks of the caller's own. Returns -BX_EINVALID. */
int bx_json_fail(const struct bx_json *j, struct bx_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Compact text of a value: heap, NULL when out of memory. */
char *bx_json_dump(const struct bx_json *j);

/*
 * Writing. Into a bounded buffer; one check at the end (bx_jw_finish). key is NULL inside arrays and for the
 * outermost value. Strings must be UTF-8: others mark the writer as failed.
 */
struct bx_jw {
    struct bx_buf *out;
    bool pretty; /* two spaces, one line per value */
    bool bad_utf8;
    unsigned depth;
    char open[32]; /* the brackets that are open */
    bool first;
};
void bx_jw_init(struct bx_jw *w, struct bx_buf *out, bool pretty);
void bx_jw_obj(struct bx_jw *w, const char *key);
void bx_jw_arr(struct bx_jw *w, const char *key);
void bx_jw_end(struct bx_jw *w);
void bx_jw_str(struct bx_jw *w, const char *key, const char *value); /* NULL writes null */
void bx_jw_strn(struct bx_jw *w, const char *key, const char *value, size_t len);
void bx_jw_u64(struct bx_jw *w, const char *key, uint64_t value);
void bx_jw_i64(struct bx_jw *w, const char *key, int64_t value);
void bx_jw_bool(struct bx_jw *w, const char *key, bool value);
void bx_jw_null(struct bx_jw *w, const char *key);
/* A NULL-terminated list as an array; NULL is an empty one. */
void bx_jw_strv(struct bx_jw *w, const char *key, char *const *list);
/* Text that is JSON already. */
void bx_jw_raw(struct bx_jw *w, const char *key, const char *json);
/* 0; -BX_EINVALID when a string was not UTF-8; -BX_ERESOURCE when the buffer's maximum was reached. */
int bx_jw_finish(struct bx_jw *w, struct bx_err *err);

#endif
