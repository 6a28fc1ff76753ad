/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.c - lists and facts as a table, as JSON, as YAML or by a template, from one description.
 */
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/str.h"
#include "cli/template.h"
#include "host/json.h"

#define OUTPUT_MAX (64u * 1024 * 1024)
#define CELL_MAX 256

static const char *format_template;

int bx_format_parse(void *target, const char *value, struct bx_err *err)
{
    static const char *const names[] = { [BX_FORMAT_TABLE] = "table", [BX_FORMAT_JSON] = "json", [BX_FORMAT_YAML] = "yaml" };
    for (size_t i = 0; i < BX_ARRAY_SIZE(names); i++) {
        if (bx_streq(value, names[i])) {
            *(enum bx_format *)target = (enum bx_format)i;
            return 0;
        }
    }
    if (!strstr(value, "{{"))
        return bx_fail(err, BX_EINVALID, 0, "'%s' is none of table, json, yaml, and no template ({{.Field}})", value);
    format_template = value;
    *(enum bx_format *)target = BX_FORMAT_TEMPLATE;
    return 0;
}

/* --- tables --- */

static void cell_text(const struct bx_field *f, char *dst, size_t size)
{
    if (f->kind == BX_FIELD_INT)
        snprintf(dst, size, "%lld", f->num);
    else if (f->kind == BX_FIELD_BOOL)
        snprintf(dst, size, "%s", f->num ? "yes" : "no");
    else
        bx_str_printable(dst, size, f->str ? f->str : "", f->str ? strlen(f->str) : 0);
}

/* Characters, not bytes. */
static int text_width(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *text, int width, enum bx_color color)
{
    printf("%s%s%s%*s", bx_color_begin(stdout, color), text, bx_color_end(stdout, color), BX_MAX(width - text_width(text), 0), "");
}

static void print_single(const struct bx_field *fields, size_t n_fields)
{
    char text[CELL_MAX];
    int width = 10;
    for (size_t i = 0; i < n_fields; i++)
        width = BX_MAX(width, fields[i].title ? text_width(fields[i].title) : 0);
    for (size_t i = 0; i < n_fields; i++) {
        if (!fields[i].title)
            continue;
        cell_text(&fields[i], text, sizeof(text));
        print_cell(fields[i].title, width + 1, BX_COLOR_TITLE);
        print_cell(text, 0, fields[i].color);
        putchar('\n');
    }
}

static int column_width(const struct bx_field *fields, size_t n_fields, size_t n_records, size_t column)
{
    char text[CELL_MAX];
    int width = text_width(fields[column].title);
    for (size_t r = 0; r < n_records; r++) {
        cell_text(&fields[r * n_fields + column], text, sizeof(text));
        width = BX_MAX(width, text_width(text));
    }
    return width;
}

/* Columns as wide as their widest cell, two spaces between. Without records `fields` still holds one, for its titles. */
static void print_table(const struct bx_field *fields, size_t n_fields, size_t n_records)
{
    char text[CELL_MAX];
    size_t last = 0;
    int *widths = calloc(n_fields, sizeof(*widths));
    if (!widths)
        abort();
    for (size_t c = 0; c < n_fields; c++) {
        if (!fields[c].title)
            continue;
        widths[c] = column_width(fields, n_fields, n_records, c);
        last = c;
    }
    for (size_t row = 0; row <= n_records; row++) {
        for (size_t c = 0; c < n_fields; c++) {
            const struct bx_field *f = row ? &fields[(row - 1) * n_fields + c] : NULL;
            if (!fields[c].title)
                continue;
            if (f)
                cell_text(f, text, sizeof(text));
            else
                snprintf(text, sizeof(text), "%s", fields[c].title);
            print_cell(text, c == last ? 0 : widths[c] + 2, f ? f->color : BX_COLOR_TITLE);
        }
        putchar('\n');
    }
    free(widths);
}

/* --- JSON --- */

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

/* --- YAML: a scalar is written as in JSON, which is YAML too --- */

static void yaml_scalar(const struct bx_json *j)
{
    bx_cleanup_free char *text = bx_json_dump(j);
    if (!text)
        abort();
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* JSON may have these as they are, YAML may not */
        if (*p == 0x7f || c1)
            printf("\\x%02x", c1 ? *++p : *p);
        else
            putchar(*p);
    }
    putchar('\n');
}

/* A key that YAML would read as something else is quoted. */
static void yaml_key(const char *key)
{
    static const char *const words[] = { "y", "n", "yes", "no", "on", "off", "true", "false", "null" };
    bool plain = isalpha((unsigned char)*key);
    for (const char *p = key; *p; p++)
        plain = plain && (isalnum((unsigned char)*p) || *p == '_');
    for (size_t i = 0; i < BX_ARRAY_SIZE(words); i++)
        plain = plain && strcasecmp(key, words[i]) != 0;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    struct bx_jw w;
    bx_jw_init(&w, &out, false);
    bx_jw_str(&w, NULL, key);
    printf("%s:", plain || bx_jw_finish(&w, NULL) < 0 ? key : bx_buf_str(&out));
}

/* The line has begun already, with "- " or "key:"; `in_list`: an object's first key goes on in it. */
static void print_yaml(const struct bx_json *j, int depth, bool in_list)
{
    struct bx_json item;
    void *it = NULL;
    size_t n = bx_json_len(j);
    if (n == 0) {
        printf("%s", depth > 0 && !in_list ? " " : "");
        yaml_scalar(j);
        return;
    }
    if (depth > 0 && !in_list)
        putchar('\n');
    if (bx_json_is_arr(j)) {
        for (size_t i = 0; i < n; i++) {
            item = bx_json_item(j, i);
            printf("%*s- ", in_list && i == 0 ? 0 : 2 * depth, "");
            print_yaml(&item, depth + 1, true);
        }
        return;
    }
    for (size_t i = 0; bx_json_next(j, &it, &item); i++) {
        printf("%*s", in_list && i == 0 ? 0 : 2 * depth, "");
        yaml_key(item.key);
        print_yaml(&item, depth + 1, false);
    }
}

/* --- all of them --- */

static int print_template(const struct bx_json *j)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    struct bx_err err = BX_ERR_INIT;
    size_t n = bx_json_is_arr(j) ? bx_json_len(j) : 1;
    for (size_t i = 0; i < n; i++) {
        struct bx_json item = bx_json_is_arr(j) ? bx_json_item(j, i) : *j;
        if (bx_template_run(format_template, &item, &out, &err) < 0) {
            bx_cli_error("%s", err.msg);
            return BX_EXIT_USAGE;
        }
        bx_buf_addstr(&out, "\n");
    }
    fwrite(bx_buf_data(&out), 1, bx_buf_len(&out), stdout);
    return 0;
}

int bx_print_json(enum bx_format format, struct bx_jw *w)
{
    const struct bx_json_limits limits = { .bytes = OUTPUT_MAX, .depth = 32, .values = 4 * 1024 * 1024 };
    bx_cleanup_json struct bx_json j = { 0 };
    struct bx_err err = BX_ERR_INIT;
    if (bx_jw_finish(w, &err) < 0 || (format != BX_FORMAT_JSON && bx_json_parse((const char *)bx_buf_data(w->out), bx_buf_len(w->out),
                                                                               &limits, "output", &j, &err) < 0)) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_FAILURE;
    }
    if (format == BX_FORMAT_TEMPLATE)
        return print_template(&j);
    if (format == BX_FORMAT_YAML)
        print_yaml(&j, 0, false);
    else
        printf("%s\n", bx_buf_str(w->out));
    return 0;
}

int bx_print_records(enum bx_format format, const struct bx_field *fields, size_t n_fields, size_t n_records, bool single)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    struct bx_jw w;
    if (format == BX_FORMAT_TABLE) {
        if (single)
            print_single(fields, n_fields);
        else
            print_table(fields, n_fields, n_records);
        return 0;
    }
    bx_jw_init(&w, &out, true);
    if (!single)
        bx_jw_arr(&w, NULL);
    for (size_t r = 0; r < n_records; r++)
        write_json(&w, fields + r * n_fields, n_fields);
    if (!single)
        bx_jw_end(&w);
    return bx_print_json(format, &w);
}
