/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - text from a JSON value by a template, in the language of Go's text/template as far as `docker inspect` users need it.
 *
 *     {{.State.Status}}  {{json .}}  {{index .Names 0}}  {{.Id | upper}}  {{printf "%-20s %d" .Name .Cpus}}
 *     {{if eq .Status "Running"}}...{{else if .State.Pid}}...{{else}}...{{end}}
 *     {{range .Ports}}...{{else}}...{{end}}  {{with .State}}...{{end}}  {{- trims -}}  {{slash-star comment star-slash}}
 *
 * Functions: json len index upper lower title join split truncate print println printf eq ne lt le gt ge and or not. There are
 * no variables but $, the value that the template began with. A field that is not there is an error that says which there are.
 */
#ifndef BX_CLI_TEMPLATE_H
#define BX_CLI_TEMPLATE_H

#include "base/buf.h"
#include "host/json.h"

/* Adds the text to out. 0 or -BX_EINVALID with a message that names the place. `out` may have got a part of it then. */
int bx_template_run(const char *template, const struct bx_json *value, struct bx_buf *out, struct bx_err *err);

#endif
