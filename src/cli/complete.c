/* SPDX-License-Identifier: Apache-2.0 */
/*
 * complete.c - `boxlite completion SHELL`, and what a shell asks while a line is typed.
 *
 * The scripts know nothing of verbs: they hand the words of the line to `boxlite __complete -- WORD...` and show what it prints, a
 * line for each candidate with a tab before its description, then ":files", ":dirs" or ":none". The table of verbs and
 * the tables of options say what fits; the names of values in them (BOX, IMAGE, DIR, a|b|c) say what a value can be.
 */
#include "cli/cli.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/str.h"
#include "host/config.h"

struct line {
    int n; /* words, the last of which is being typed */
    char **words;
    const char *typed; /* the part of it that is to be completed, behind "--option=" */
    const char *before; /* that part */
    int verb_at;  /* first word of the verb, n: none */
    int used;     /* words of it */
    const char *files; /* directive */
};

/* --- candidates --- */

static void offer(struct line *l, const char *text, const char *description)
{
    if (bx_starts_with(text, l->typed))
        printf("%s%s\t%s\n", l->before, text, description ? description : "");
}

static void offer_verbs(struct line *l, const char *prefix, bool of_images)
{
    size_t skip = strlen(prefix);
    for (const struct bx_verb *v = bx_verbs; v->name; v++) {
        if (!v->run || (!v->summary && skip > 0))
            continue;
        const char *name = bx_starts_with(v->name, prefix) ? v->name + skip : of_images && v->of_images ? v->name : NULL;
        /* Of two words the first is a row of its own. */
        if (name && !strchr(name, ' ') && *name != '_')
            offer(l, name, v->summary ? v->summary : "verbs of their own");
    }
}

static void keep_boxes(CBoxInfoList *list, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, list, error);
}

static void keep_images(CImageInfoList *list, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, list, error);
}

/* A home that is not there is not made by who only types. */
static CBoxliteRuntime *open_home(void)
{
    bx_cleanup_config struct bx_config config = { 0 };
    bx_cleanup_free char *home = NULL, *db = NULL;
    struct stat st;
    if (bx_config_load(bx_cli_home(), &config, &home, NULL) < 0)
        return NULL;
    db = bx_path_join(home, "db");
    return db && stat(db, &st) == 0 ? bx_cli_open() : NULL;
}

static void offer_boxes(struct line *l, const char *suffix)
{
    CBoxliteRuntime *rt = open_home();
    struct bx_call call = BX_CALL_INIT;
    if (rt && bx_call_wait(rt, &call, boxlite_list_info(rt, keep_boxes, &call, &call.error))) {
        const CBoxInfoList *list = call.result;
        for (int i = 0; i < list->count; i++) {
            const CBoxInfo *b = &list->items[i];
            bx_cleanup_free char *text = bx_strf("%s%s", b->name ? b->name : b->id, suffix);
            bx_cleanup_free char *about = bx_strf("%s, %s", b->status, b->image);
            if (text && about)
                offer(l, text, about);
        }
    }
    boxlite_free_box_info_list(call.result);
    boxlite_error_free(&call.error);
    boxlite_runtime_free(rt);
}

/* "docker.io/library/python:slim" is written "python:slim". */
static const char *short_name(const char *reference)
{
    static const char *const implied[] = { "docker.io/library/", "docker.io/" };
    for (size_t i = 0; i < BX_ARRAY_SIZE(implied); i++) {
        if (bx_starts_with(reference, implied[i]))
            return reference + strlen(implied[i]);
    }
    return reference;
}

static void offer_images(struct line *l)
{
    CBoxliteRuntime *rt = open_home();
    CBoxliteImageHandle *images = NULL;
    struct bx_call call = BX_CALL_INIT;
    if (rt && boxlite_runtime_images(rt, &images, &call.error) == Ok &&
        bx_call_wait(rt, &call, boxlite_image_list(images, keep_images, &call, &call.error))) {
        const CImageInfoList *list = call.result;
        for (int i = 0; i < list->count; i++) {
            char bytes[BX_CLI_BYTES_LEN];
            bx_cli_bytes(bytes, list->items[i].size);
            offer(l, short_name(list->items[i].reference), bytes);
        }
    }
    boxlite_free_image_info_list(call.result);
    boxlite_error_free(&call.error);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
}

/* --- what a value can be --- */

static bool word_is(const char *p, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(p, word, n) == 0;
}

/* One alternative of a value's name: "BOX...", "[COMMAND...]", "yaml". */
static void offer_kind(struct line *l, const char *p, size_t n)
{
    char literal[40];
    size_t len = 0;
    while (n > 0 && !isalnum((unsigned char)*p) && *p != '-')
        p++, n--;
    while (len < n && (isalnum((unsigned char)p[len]) || p[len] == '-'))
        len++;
    if (word_is(p, len, "BOX")) {
        bool of_path = len < n && p[len] == ':'; /* BOX:PATH, beside paths of this machine */
        offer_boxes(l, of_path ? ":" : "");
        l->files = of_path ? ":files" : l->files;
    } else if (word_is(p, len, "IMAGE")) {
        offer_images(l);
    } else if (word_is(p, len, "VERB")) {
        offer_verbs(l, "", false);
    } else if (word_is(p, len, "DIR")) {
        l->files = ":dirs";
    } else if (word_is(p, len, "FILE") || word_is(p, len, "PATH")) {
        l->files = ":files";
    } else if (len > 0 && len < sizeof(literal) && islower((unsigned char)*p)) {
        snprintf(literal, sizeof(literal), "%.*s", (int)len, p);
        offer(l, literal, NULL);
    }
}

static void offer_value(struct line *l, const char *name, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t part = 0;
        while (at + part < n && name[at + part] != '|')
            part++;
        offer_kind(l, name + at, part);
        at += part + 1;
    }
}

/* Argument number `which` of a verb. Where there are fewer, one that is repeated is the last. */
static void offer_argument(struct line *l, const struct bx_verb *v, int which)
{
    const char *p = v->args + (bx_starts_with(v->args, "[OPTIONS]") ? strlen("[OPTIONS]") : 0);
    const char *repeated = NULL;
    for (p += strspn(p, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (which-- == 0) {
            offer_value(l, p, n);
            return;
        }
        repeated = memchr(p, '.', n) ? p : repeated;
        p += n;
    }
    if (repeated)
        offer_value(l, repeated, strcspn(repeated, " "));
}

/* --- options --- */

static void offer_option(void *ud, const struct bx_opt *o)
{
    struct line *l = ud;
    char text[64];
    if (o->kind == BX_OPT_KIND_GROUP)
        return;
    if (o->name) {
        snprintf(text, sizeof(text), "--%s", o->name);
        offer(l, text, o->help);
    }
    if (o->short_name && strlen(l->typed) < 2) {
        snprintf(text, sizeof(text), "-%c", o->short_name);
        offer(l, text, o->help);
    }
}

struct wanted {
    const char *word; /* "--name" or the letter */
    size_t len;
    char letter;
    const struct bx_opt *found;
};

static void look(void *ud, const struct bx_opt *o)
{
    struct wanted *w = ud;
    if (o->kind == BX_OPT_KIND_GROUP)
        return;
    if (w->letter ? o->short_name == w->letter : o->name && strlen(o->name) == w->len && memcmp(o->name, w->word, w->len) == 0)
        w->found = o;
}

/* The row that an option's word names: of a cluster of letters the last, which alone may take a value. */
static const struct bx_opt *find_option(const struct bx_opt *opts, const char *word)
{
    struct wanted w = { 0 };
    if (word[1] == '-')
        w = (struct wanted){ .word = word + 2, .len = strcspn(word + 2, "=") };
    else
        w.letter = word[strlen(word) - 1];
    bx_opt_each(opts, look, &w);
    return w.found;
}

/* What was typed of --home and its like counts here too. */
static void apply_global(const char *option, char *value)
{
    char *argv[] = { (char *)(uintptr_t)option, value, NULL };
    struct bx_err ignored;
    (void)bx_opt_parse(bx_cli_global_opts, 0, value ? 2 : 1, argv, &ignored);
}

/* Goes over words[from, to). Options are skipped with their values; returns the row whose value comes next, or NULL. */
struct walk {
    int arguments;
    bool only_arguments; /* no options any more */
};

static const struct bx_opt *walk(struct line *l, const struct bx_opt *opts, bool options_first, int from, int to, struct walk *w)
{
    const struct bx_opt *o;
    for (int i = from; i < to; i++) {
        char *word = l->words[i];
        if (w->only_arguments || word[0] != '-' || !word[1]) {
            w->arguments++;
            w->only_arguments = w->only_arguments || options_first;
            continue;
        }
        if (bx_streq(word, "--")) {
            w->only_arguments = true;
            continue;
        }
        o = find_option(opts, word);
        if (!o || !o->arg || strchr(word, '=')) {
            if (o && find_option(bx_cli_global_opts, word) && strchr(word, '='))
                apply_global(word, NULL);
            continue;
        }
        if (i + 1 == to)
            return o;
        if (find_option(bx_cli_global_opts, word))
            apply_global(word, l->words[i + 1]);
        i++;
    }
    return NULL;
}

/* "--option=va": the value is completed, and the rest stays. */
static const struct bx_opt *value_behind_equals(struct line *l, const struct bx_opt *opts)
{
    static char before[80];
    const char *eq = strchr(l->typed, '=');
    const struct bx_opt *o = bx_starts_with(l->typed, "--") && eq ? find_option(opts, l->typed) : NULL;
    if (!o || !o->arg || (size_t)(eq - l->typed) + 2 > sizeof(before))
        return NULL;
    snprintf(before, sizeof(before), "%.*s", (int)(eq + 1 - l->typed), l->typed);
    l->before = before;
    l->typed = eq + 1;
    return o;
}

/* --- a line --- */

static void complete_verb(void *ud, const struct bx_verb *v, const struct bx_opt *opts, unsigned flags)
{
    struct line *l = ud;
    struct walk w = { 0 };
    const struct bx_opt *o = walk(l, opts, flags & BX_OPT_STOP_AT_ARG, l->verb_at + l->used, l->n - 1, &w);
    if (!o && !w.only_arguments)
        o = value_behind_equals(l, opts);
    if (o)
        offer_value(l, o->arg, strlen(o->arg));
    else if (*l->typed == '-' && !w.only_arguments)
        bx_opt_each(opts, offer_option, l);
    else
        offer_argument(l, v, w.arguments);
}

/* Where the verb begins: behind global options and their values; n - 1 when it is the word being typed, n when a value is. */
static int find_verb_at(struct line *l, const struct bx_opt **ret_value_of)
{
    for (int i = 0; i < l->n - 1; i++) {
        struct walk w = { 0 };
        const struct bx_opt *o;
        if (l->words[i][0] != '-')
            return i;
        o = find_option(bx_cli_global_opts, l->words[i]);
        if (!o || !o->arg || strchr(l->words[i], '='))
            continue;
        walk(l, bx_cli_global_opts, false, i, BX_MIN(i + 2, l->n - 1), &w);
        if (++i == l->n - 1) {
            *ret_value_of = o;
            return l->n;
        }
    }
    return l->n - 1;
}

static void complete(struct line *l)
{
    const struct bx_opt *value_of = NULL;
    l->typed = l->words[l->n - 1];
    l->verb_at = find_verb_at(l, &value_of);
    const struct bx_verb *v = l->verb_at < l->n - 1 ? bx_cli_find_verb(l->n - 1 - l->verb_at, l->words + l->verb_at, &l->used) : NULL;
    if (!value_of && !v)
        value_of = value_behind_equals(l, bx_cli_global_opts);
    if (value_of) {
        offer_value(l, value_of->arg, strlen(value_of->arg));
    } else if (l->verb_at == l->n - 1) {
        if (*l->typed == '-')
            bx_opt_each(bx_cli_global_opts, offer_option, l);
        else
            offer_verbs(l, "", false);
    } else if (v && v->run == bx_verb_group && l->verb_at + l->used == l->n - 1) {
        bx_cleanup_free char *prefix = bx_strf("%s ", v->name);
        if (prefix)
            offer_verbs(l, prefix, bx_streq(v->name, "image"));
    } else if (v) {
        bx_cli_describe(v, complete_verb, l);
    }
}

int bx_verb_complete(int argc, char **argv)
{
    struct line l = { .before = "", .files = ":none" };
    int code = 0;
    l.n = bx_cli_parse("__complete", bx_cli_global_opts, 0, argc, argv, &code);
    if (l.n < 0)
        return code;
    if (l.n == 0)
        return bx_cli_usage("__complete", "the words of a line are missing, behind --");
    l.words = argv + 1;
    complete(&l);
    puts(l.files);
    return bx_cli_finish(0);
}

/* --- the scripts --- */

static const struct {
    const char *shell, *script;
} scripts[] = {
    { "bash",
      "# bash completion of boxlite: source it, or install it as .../bash-completion/completions/boxlite\n"
      "_boxlite()\n"
      "{\n"
      "    local program line=${COMP_LINE:0:COMP_POINT} cur text rest directive=:none prefix=\n"
      "    local -a words\n"
      "    read -ra words <<<\"$line\"\n"
      "    [[ $line == *[[:space:]] ]] && words+=('')\n"
      "    cur=${words[${#words[@]}-1]}\n"
      "    program=$(type -P -- \"${words[0]}\") || program=boxlite\n"
      "    # bash replaces only what is behind the last of these characters.\n"
      "    [[ $cur == *[:=]* ]] && prefix=${cur%\"${cur##*[:=]}\"}\n"
      "    COMPREPLY=()\n"
      "    while IFS=$'\\t' read -r text rest; do\n"
      "        case $text in\n"
      "            :files | :dirs | :none) directive=$text ;;\n"
      "            *) COMPREPLY+=(\"${text#\"$prefix\"}\") ;;\n"
      "        esac\n"
      "    done < <(\"$program\" __complete -- \"${words[@]:1}\" 2>/dev/null)\n"
      "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null\n"
      "    [[ $directive == :none ]] && return\n"
      "    compopt -o filenames 2>/dev/null\n"
      "    cur=${cur#\"$prefix\"}\n"
      "    while IFS= read -r text; do\n"
      "        COMPREPLY+=(\"$text\")\n"
      "    done < <(if [[ $directive == :dirs ]]; then compgen -d -- \"$cur\"; else compgen -f -- \"$cur\"; fi)\n"
      "}\n"
      "complete -F _boxlite boxlite\n" },
    { "zsh",
      "#compdef boxlite\n"
      "# zsh completion of boxlite: put it into a folder of $fpath as _boxlite, or source it.\n"
      "_boxlite()\n"
      "{\n"
      "    local line directive=:none\n"
      "    local -a choices\n"
      "    for line in \"${(@f)$(\"${(Q)words[1]}\" __complete -- \"${(@Q)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
      "        case $line in\n"
      "            :files|:dirs|:none) directive=$line ;;\n"
      "            *) choices+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\") ;;\n"
      "        esac\n"
      "    done\n"
      "    (( $#choices )) && _describe -t values boxlite choices\n"
      "    case $directive in\n"
      "        :files) _files ;;\n"
      "        :dirs) _files -/ ;;\n"
      "    esac\n"
      "}\n"
      "if [[ $funcstack[1] == _boxlite ]]; then\n"
      "    _boxlite \"$@\"\n"
      "else\n"
      "    compdef _boxlite boxlite\n"
      "fi\n" },
    { "fish",
      "# fish completion of boxlite: source it, or install it as .../vendor_completions.d/boxlite.fish\n"
      "function __boxlite_complete\n"
      "    set -l words (commandline -opc)\n"
      "    set -l typed (commandline -ct)\n"
      "    for line in ($words[1] __complete -- $words[2..-1] \"$typed\" 2>/dev/null)\n"
      "        switch $line\n"
      "            case :files\n"
      "                __fish_complete_path \"$typed\"\n"
      "            case :dirs\n"
      "                __fish_complete_directories \"$typed\"\n"
      "            case :none\n"
      "            case '*'\n"
      "                printf '%s\\n' $line\n"
      "        end\n"
      "    end\n"
      "end\n"
      "complete -c boxlite -f -a '(__boxlite_complete)'\n" },
};

int bx_verb_completion(int argc, char **argv)
{
    int code = 0;
    int n = bx_cli_parse("completion", bx_cli_global_opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("completion", "of which shell: bash, zsh or fish?");
    for (size_t i = 0; i < BX_ARRAY_SIZE(scripts); i++) {
        if (bx_streq(scripts[i].shell, argv[1])) {
            fputs(scripts[i].script, stdout);
            return bx_cli_finish(0);
        }
    }
    return bx_cli_usage("completion", "'%s' is none of bash, zsh, fish", argv[1]);
}
