/* SPDX-License-Identifier: Apache-2.0 */
/* template_value.h - what a template works with: values, and the functions on them. */
#ifndef BX_CLI_TEMPLATE_VALUE_H
#define BX_CLI_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "host/json.h"

enum bx_value_kind { BX_VALUE_NIL, BX_VALUE_BOOL, BX_VALUE_INT, BX_VALUE_STR, BX_VALUE_JSON /* array, object, fraction */ };

/* Strings are borrowed from the document, or from bx_values. */
struct bx_value {
    enum bx_value_kind kind;
    int64_t num; /* also of BOOL */
    const char *str;
    struct bx_json json;
};

/* What was made on the way; zeroed at first. */
#define BX_VALUES_DOCS_MAX 4096
struct bx_values {
    char **strings;
    struct bx_json *docs;
    size_t n_docs;
};
void bx_values_done(struct bx_values *vs);
/* Keeps a document; taken on success. 0 or -ENOMEM. */
int bx_values_keep(struct bx_values *vs, const struct bx_json *doc);
/* A copy that lives as long as vs. 0 or -ENOMEM. */
int bx_value_str(struct bx_values *vs, const char *s, struct bx_value *ret);

void bx_value_of(const struct bx_json *j, struct bx_value *ret);
const char *bx_value_kind(const struct bx_value *v); /* "a string", for messages */
bool bx_value_true(const struct bx_value *v);
/* Its text, as Go prints it. 0 or negative when it does not fit. */
int bx_value_print(const struct bx_value *v, struct bx_buf *out);

/* A member of an object. False when there is none: then `known` says which there are, "" when v is no object. */
bool bx_value_field(const struct bx_value *v, const char *name, struct bx_value *ret, char *known, size_t size);
/* How many items range goes over: of an array its items, of an object its members, of nil none. False for others. */
bool bx_value_items(const struct bx_value *v, size_t *ret_n);
void bx_value_item(const struct bx_value *v, size_t i, struct bx_value *ret);

bool bx_value_function(const char *name);
/* 0, or -BX_EINVALID with `why`. */
int bx_value_call(struct bx_values *vs, const char *name, const struct bx_value *args, size_t n, struct bx_value *ret, char *why,
                  size_t size);

#endif
