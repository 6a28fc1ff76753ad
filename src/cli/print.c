/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.c - lists and facts as table, JSON or YAML, from one description.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/json.h"

#define OUTPUT_MAX (64u * 1024 * 1024)
#define CELL_MAX 256

int bx_format_parse(void *target, const char *value, struct bx_err *err)
{
    static const char *const names[] = { [BX_FORMAT_TABLE] = "table", [BX_FORMAT_JSON] = "json", [BX_FORMAT_YAML] = "yaml" };
    for (size_t i = 0; i < BX_ARRAY_SIZE(names); i++) {
        if (bx_streq(value, names[i])) {
            *(enum bx_format *)target = (enum bx_format)i;
            return 0;
        }
    }
    return bx_fail(err, BX_EINVALID, 0, "'%s' is none of table, json, yaml", value);
}

static void cell_text(const struct bx_field *f, char *dst, size_t size)
{
    if (f->kind == BX_FIELD_INT)
        snprintf(dst, size, "%lld", f->num);
    else if (f->kind == BX_FIELD_BOOL)
        snprintf(dst, size, "%s", f->num ? "yes" : "no");
    else
        bx_str_printable(dst, size, f->str ? f->str : "", f->str ? strlen(f->str) : 0);
}

/* Columns as wide as their widest cell, two spaces between. */
static void print_table(const struct bx_field *fields, size_t n_fields, size_t n_records, bool single)
{
    /* Without records `fields` still holds one, for its titles. */
    char text[CELL_MAX];
    if (single) {
        for (size_t i = 0; i < n_fields; i++) {
            if (!fields[i].title)
                continue;
            cell_text(&fields[i], text, sizeof(text));
            printf("%-10s %s\n", fields[i].title, text);
        }
        return;
    }
    for (size_t row = 0; row <= n_records; row++) {
        for (size_t c = 0, last = n_fields; c < n_fields; c++) {
            if (!fields[c].title)
                continue;
            int width = (int)strlen(fields[c].title);
            for (size_t r = 0; r < n_records; r++) {
                cell_text(&fields[r * n_fields + c], text, sizeof(text));
                width = BX_MAX(width, (int)strlen(text));
            }
            if (row == 0)
                snprintf(text, sizeof(text), "%s", fields[c].title);
            else
                cell_text(&fields[(row - 1) * n_fields + c], text, sizeof(text));
            printf("%s%-*s", last == n_fields ? "" : "  ", width, text);
            last = c;
        }
        putchar('\n');
    }
}

static void write_json(struct bx_jw *w, const struct bx_field *fields, size_t n_fields)
{
    bx_jw_obj(w, NULL);
    for (const struct bx_field *f = fields; f < fields + n_fields; f++) {
        if (!f->key && f->kind != BX_FIELD_OBJECT_END)
            continue;
        if (f->kind == BX_FIELD_OBJECT)
            bx_jw_obj(w, f->key);
        else if (f->kind == BX_FIELD_OBJECT_END)
            bx_jw_end(w);
        else if (f->kind == BX_FIELD_INT)
            bx_jw_i64(w, f->key, f->num);
        else if (f->kind == BX_FIELD_BOOL)
            bx_jw_bool(w, f->key, f->num != 0);
        else
            bx_jw_str(w, f->key, f->str);
    }
    bx_jw_end(w);
}

static int print_json(const struct bx_field *fields, size_t n_fields, size_t n_records, bool single)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    struct bx_err err = BX_ERR_INIT;
    struct bx_jw w;
    bx_jw_init(&w, &out, true);
    if (!single)
        bx_jw_arr(&w, NULL);
    for (size_t r = 0; r < n_records; r++)
        write_json(&w, fields + r * n_fields, n_fields);
    if (!single)
        bx_jw_end(&w);
    if (bx_jw_finish(&w, &err) < 0) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_FAILURE;
    }
    printf("%s\n", bx_buf_str(&out));
    return 0;
}

/* A YAML scalar is written as a JSON string: every JSON string is a YAML one. */
static void print_yaml_value(const struct bx_field *f)
{
    if (f->kind == BX_FIELD_INT) {
        printf("%lld\n", f->num);
    } else if (f->kind == BX_FIELD_BOOL) {
        puts(f->num ? "true" : "false");
    } else if (!f->str) {
        puts("null");
    } else {
        bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
        struct bx_jw w;
        bx_jw_init(&w, &out, false);
        bx_jw_str(&w, NULL, f->str);
        puts(bx_jw_finish(&w, NULL) == 0 ? bx_buf_str(&out) : "null");
    }
}

static void print_yaml(const struct bx_field *fields, size_t n_fields, size_t n_records, bool single)
{
    if (n_records == 0)
        puts("[]");
    for (size_t r = 0; r < n_records; r++) {
        int depth = single ? 0 : 1;
        for (size_t i = 0; i < n_fields; i++) {
            const struct bx_field *f = &fields[r * n_fields + i];
            if (f->kind == BX_FIELD_OBJECT_END) {
                depth--;
                continue;
            }
            if (!f->key)
                continue;
            bool first = !single && i == 0;
            printf("%*s%s%s:", first ? 2 * depth - 2 : 2 * depth, "", first ? "- " : "", f->key);
            if (f->kind == BX_FIELD_OBJECT) {
                putchar('\n');
                depth++;
            } else {
                putchar(' ');
                print_yaml_value(f);
            }
        }
    }
}

int bx_print_records(enum bx_format format, const struct bx_field *fields, size_t n_fields, size_t n_records, bool single)
{
    if (format == BX_FORMAT_JSON)
        return print_json(fields, n_fields, n_records, single);
    if (format == BX_FORMAT_YAML)
        print_yaml(fields, n_fields, n_records, single);
    else
        print_table(fields, n_fields, n_records, single);
    return 0;
}
