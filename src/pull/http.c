/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - see http.h.
 *
 * Theory of operation
 *
 *  libcurl says which descriptors it waits for and when it wants to be called (CURLMOPT_SOCKETFUNCTION,
 *  TIMERFUNCTION); both become sources of the loop. A transfer that has ended is taken out of the multi
 *  handle after every such call, and `done` is called from there, so that no callback ever runs inside
 *  libcurl.
 *
 *  A stall: in each quarter of stall_ms the bytes are counted; a transfer whose last four quarters brought
 *  less than MIN_RATE bytes a second is broken off. So neither silence nor a byte a second holds a
 *  connection for longer than that.
 *
 *  HTTP/1.1 only: several connections carry several layers faster than one, and one parser of strangers'
 *  bytes less is used. Proxies are those of the plan, never of the environment; this machine is reached
 *  without one.
 */
#include "pull/http.h"

#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "pull/url.h"

#define HEADERS_MAX    (64 * 1024)
#define CONNECT_MAX_MS 30000
#define RECEIVE_BUFFER (256 * 1024)
#define MIN_RATE       1024 /* bytes a second */
#define QUARTERS       4
#define CA_FILE_MAX    (4 * 1024 * 1024)

struct bx_http {
    struct bx_http_config config;
    CURLM *multi;
    struct bx_source *timer;
    const char *ca_path; /* one of the two, or none */
    const char *ca_file;
};

struct bx_http_xfer {
    struct bx_http *http;
    CURL *easy;
    struct curl_slist *headers;
    struct bx_http_ops ops;
    void *ud;
    struct bx_http_head head;
    size_t header_bytes;
    bool head_told;
    bool stopped;
    bool too_much; /* of headers */
    struct bx_source *stall;
    uint64_t bytes[QUARTERS];
    unsigned quarter;
    char error[CURL_ERROR_SIZE];
};

/* --- the end of a transfer --- */

static void xfer_free(struct bx_http_xfer *x)
{
    if (x->easy) {
        curl_multi_remove_handle(x->http->multi, x->easy);
        curl_easy_cleanup(x->easy);
    }
    curl_slist_free_all(x->headers);
    bx_source_remove(x->stall);
    free(x->head.location);
    free(x->head.content_range);
    free(x->head.retry_after);
    free(x->head.digest);
    free(x);
}

static enum bx_http_end end_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return BX_HTTP_COMPLETE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return BX_HTTP_UNREACHABLE;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP_RETURNED_ERROR:
    case CURLE_BAD_CONTENT_ENCODING:
        return BX_HTTP_REFUSED;
    default:
        return BX_HTTP_BROKEN;
    }
}

static bool connected(CURL *easy)
{
    curl_off_t t = 0;

    return curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &t) == CURLE_OK && t > 0;
}

/* What failed, and what can be done about it. */
static enum bx_http_end explain(struct bx_http_xfer *x, CURLcode code, struct bx_err *err)
{
    enum bx_http_end end = end_of(code);
    const char *text = x->error[0] ? x->error : curl_easy_strerror(code);
    const char *url = NULL;
    char host[256];
    char shown[CURL_ERROR_SIZE];

    (void)curl_easy_getinfo(x->easy, CURLINFO_EFFECTIVE_URL, &url);
    bx_url_host(url ? url : "", host, sizeof(host));
    bx_str_printable(shown, sizeof(shown), text, strlen(text));
    if (x->too_much) {
        bx_fail(err, BX_ENETWORK, 0, "%s: more than %d bytes of headers", host, HEADERS_MAX);
        return BX_HTTP_REFUSED;
    }
    bx_fail(err, BX_ENETWORK, 0, "%s: %s", host, shown);
    if (end == BX_HTTP_BROKEN && !connected(x->easy))
        end = BX_HTTP_UNREACHABLE;
    if (code == CURLE_PEER_FAILED_VERIFICATION) {
        bx_err_append(err,
                      "; if this is its own authority, name the authority's certificate for this registry");
    } else if (code == CURLE_SSL_CONNECT_ERROR &&
               (strstr(text, "wrong version number") || strstr(text, "http request"))) {
        bx_err_append(err, "; if this registry speaks plain http, say so for it");
        end = BX_HTTP_REFUSED;
    }
    return end;
}

static int tell_head(struct bx_http_xfer *x)
{
    long status = 0;
    curl_off_t length = -1;

    if (x->head_told)
        return 0;
    x->head_told = true;
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    x->head.status = (int)status;
    x->head.length = length < 0 ? BX_HTTP_UNKNOWN : (uint64_t)length;
    if (x->ops.head(x->ud, &x->head) >= 0)
        return 0;
    x->stopped = true;
    return -1;
}

static void finish(struct bx_http_xfer *x, CURLcode code)
{
    struct bx_err err = BX_ERR_INIT;
    enum bx_http_end end = BX_HTTP_COMPLETE;

    if (code == CURLE_OK)
        (void)tell_head(x); /* an answer without a body */
    if (x->stopped)
        end = BX_HTTP_STOPPED;
    else if (code != CURLE_OK)
        end = explain(x, code, &err);
    /* the handle first: its connection is then free for what `done` starts */
    curl_multi_remove_handle(x->http->multi, x->easy);
    curl_easy_cleanup(x->easy);
    x->easy = NULL;
    x->stall = bx_source_remove(x->stall);
    x->ops.done(x->ud, end, &err);
    xfer_free(x);
}

static void reap(struct bx_http *h)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(h->multi, &left))) {
        struct bx_http_xfer *x = NULL;
        CURLcode code = m->data.result;

        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x) == CURLE_OK)
            finish(x, code);
    }
}

static void on_stall_timer(struct bx_source *s, void *ud)
{
    struct bx_http_xfer *x = ud;
    struct bx_http *h = x->http;
    uint64_t sum = 0;

    (void)s;
    for (size_t i = 0; i < QUARTERS; i++)
        sum += x->bytes[i];
    if (x->quarter >= QUARTERS - 1 && sum < BX_MAX((uint64_t)MIN_RATE * h->config.stall_ms / 1000, 1u)) {
        (void)snprintf(x->error, sizeof(x->error), "%llu bytes in %u.%u s: given up", (unsigned long long)sum,
                       h->config.stall_ms / 1000, h->config.stall_ms % 1000 / 100);
        finish(x, CURLE_OPERATION_TIMEDOUT);
        return;
    }
    x->quarter++;
    x->bytes[x->quarter % QUARTERS] = 0;
    bx_timer_after(x->stall, BX_MAX(h->config.stall_ms / QUARTERS, 1u) * BX_MSEC);
}

/* --- libcurl and the loop --- */

static void act(struct bx_http *h, curl_socket_t fd, int what)
{
    int running;

    (void)curl_multi_socket_action(h->multi, fd, what, &running);
    reap(h);
}

static void on_timer(struct bx_source *s, void *ud)
{
    (void)s;
    act(ud, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    int what = 0;

    if (events & (BX_READ | BX_HUP))
        what |= CURL_CSELECT_IN;
    if ((events & BX_WRITE) || ((events & BX_HUP) && (bx_source_events(s) & BX_WRITE)))
        what |= CURL_CSELECT_OUT;
    act(ud, fd, what);
}

static int set_timer(CURLM *multi, long timeout_ms, void *ud)
{
    struct bx_http *h = ud;

    (void)multi;
    bx_timer_set(h->timer, timeout_ms < 0 ? 0 : bx_now() + (int64_t)timeout_ms * BX_MSEC);
    return 0;
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *per_socket)
{
    struct bx_http *h = ud;
    struct bx_source *s = per_socket;
    uint32_t events = (what & CURL_POLL_IN ? BX_READ : 0) | (what & CURL_POLL_OUT ? BX_WRITE : 0);

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        bx_source_remove(s);
        (void)curl_multi_assign(h->multi, fd, NULL);
        return 0;
    }
    if (s)
        return bx_source_set_events(s, events) < 0 ? -1 : 0;
    s = bx_loop_add_fd(h->config.loop, fd, events, on_socket, h);
    return s && curl_multi_assign(h->multi, fd, s) == CURLM_OK ? 0 : -1;
}

/* --- headers and bodies --- */

static bool header_is(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

/* The value as a heap string; a NUL inside ends it. */
static char *header_value(const char *line, size_t len)
{
    const char *from = memchr(line, ':', len);
    const char *end = line + len;

    from = from ? from + 1 : end;
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && strchr(" \t\r\n", end[-1]))
        end--;
    return strndup(from, (size_t)(end - from));
}

static void keep_header(char **dst, const char *line, size_t len)
{
    free(*dst);
    *dst = header_value(line, len);
}

static void head_reset(struct bx_http_head *head)
{
    free(head->location);
    free(head->content_range);
    free(head->retry_after);
    free(head->digest);
    *head = (struct bx_http_head){.length = BX_HTTP_UNKNOWN};
}

static size_t on_header(char *line, size_t size, size_t n, void *ud)
{
    struct bx_http_xfer *x = ud;
    size_t len = size * n;
    struct bx_http_head *head = &x->head;

    x->header_bytes += len;
    if (x->header_bytes > HEADERS_MAX) {
        x->too_much = true;
        return 0;
    }
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
        head_reset(head); /* 100 Continue and its like came before */
    else if (header_is(line, len, "Location"))
        keep_header(&head->location, line, len);
    else if (header_is(line, len, "Content-Range"))
        keep_header(&head->content_range, line, len);
    else if (header_is(line, len, "Retry-After"))
        keep_header(&head->retry_after, line, len);
    else if (header_is(line, len, "Docker-Content-Digest"))
        keep_header(&head->digest, line, len);
    else if (header_is(line, len, "WWW-Authenticate")) {
        bx_cleanup_free char *value = header_value(line, len);

        if (value)
            bx_challenge_add(&head->challenge, value);
    }
    return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *ud)
{
    struct bx_http_xfer *x = ud;
    size_t len = size * n;

    x->bytes[x->quarter % QUARTERS] += len;
    if (tell_head(x) < 0)
        return 0;
    if (len && x->ops.body(x->ud, (const uint8_t *)data, len) < 0) {
        x->stopped = true;
        return 0;
    }
    return len;
}

/* --- starting --- */

static int add_header(struct bx_http_xfer *x, const char *name, const char *value)
{
    bx_cleanup_free char *line = bx_strf("%s: %s", name, value);
    struct curl_slist *more = line ? curl_slist_append(x->headers, line) : NULL;

    if (!more)
        return -ENOMEM;
    x->headers = more;
    return 0;
}

/* The system's certificates come from one bundle then, and the private ones are put behind them. */
static int trust_bundle(struct bx_http_xfer *x, const char *ca_pem)
{
    bx_cleanup_free char *system = NULL;
    bx_cleanup_free char *all = NULL;
    struct curl_blob blob = {.flags = CURL_BLOB_COPY};

    if (x->http->ca_file && bx_read_file(AT_FDCWD, x->http->ca_file, CA_FILE_MAX, &system, NULL) < 0)
        system = NULL;
    all = bx_strf("%s\n%s", system ? system : "", ca_pem);
    if (!all)
        return -ENOMEM;
    blob.data = all;
    blob.len = strlen(all);
    return curl_easy_setopt(x->easy, CURLOPT_CAINFO_BLOB, &blob) ? -ENOMEM : 0;
}

static int set_trust(struct bx_http_xfer *x, const struct bx_http_request *req)
{
    struct bx_http *h = x->http;
    long verify = !req->skip_verify;
    int bad = 0;

    bad |= curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYPEER, verify);
    bad |= curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    bad |= curl_easy_setopt(x->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad |= curl_easy_setopt(x->easy, CURLOPT_CAINFO, h->ca_path ? NULL : h->ca_file);
    bad |= curl_easy_setopt(x->easy, CURLOPT_CAPATH, h->ca_path);
    if (bad)
        return -ENOMEM;
    return req->ca_pem ? trust_bundle(x, req->ca_pem) : 0;
}

static int set_proxy(struct bx_http_xfer *x, const char *url)
{
    const struct bx_http_config *c = &x->http->config;
    const char *proxy = bx_starts_with(url, "https:") ? c->https_proxy : c->http_proxy;

    if (!proxy || bx_url_is_loopback(url))
        proxy = ""; /* whatever the environment says */
    return curl_easy_setopt(x->easy, CURLOPT_PROXY, proxy) ||
                   curl_easy_setopt(x->easy, CURLOPT_NOPROXY, c->no_proxy ? c->no_proxy : "")
               ? -ENOMEM
               : 0;
}

static int set_headers(struct bx_http_xfer *x, const struct bx_http_request *req)
{
    int r = add_header(x, "Accept", req->accept ? req->accept : "*/*");

    if (r == 0 && req->authorization)
        r = add_header(x, "Authorization", req->authorization);
    if (r == 0 && req->offset) {
        char range[32];

        (void)snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)req->offset);
        r = add_header(x, "Range", range);
    }
    return r ? r : curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers) ? -ENOMEM : 0;
}

static int set_transfer(struct bx_http_xfer *x, const struct bx_http_request *req)
{
    CURL *e = x->easy;
    int bad = 0;

    bad |= curl_easy_setopt(e, CURLOPT_URL, req->url);
    bad |= curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_USERAGENT, "boxlite/" BX_VERSION);
    bad |= curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    bad |= curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                            (long)BX_MIN(x->http->config.stall_ms, (unsigned)CONNECT_MAX_MS));
    bad |= curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->error);
    bad |= curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    bad |= curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    bad |= curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    if (req->post)
        bad |= curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, req->post);
    return bad ? -ENOMEM : 0;
}

struct bx_http_xfer *bx_http_start(struct bx_http *h, const struct bx_http_request *req,
                                   const struct bx_http_ops *ops, void *ud, struct bx_err *err)
{
    struct bx_http_xfer *x = calloc(1, sizeof(*x));

    if (!x)
        goto no_memory;
    *x = (struct bx_http_xfer){.http = h, .ops = *ops, .ud = ud, .head = {.length = BX_HTTP_UNKNOWN}};
    x->easy = curl_easy_init();
    x->stall = bx_loop_add_timer(h->config.loop, on_stall_timer, x);
    if (!x->easy || !x->stall || set_transfer(x, req) || set_trust(x, req) || set_proxy(x, req->url) ||
        set_headers(x, req))
        goto no_memory;
    bx_timer_after(x->stall, BX_MAX(h->config.stall_ms / QUARTERS, 1u) * BX_MSEC);
    if (curl_multi_add_handle(h->multi, x->easy) == CURLM_OK)
        return x;
no_memory:
    if (x)
        xfer_free(x);
    bx_fail(err, BX_ERESOURCE, ENOMEM, "start a request");
    return NULL;
}

/* Does the directory have certificates by the hash of their subject? One of them is then read, and not all at
 * every connection. */
static bool has_hashes(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir)))
        found = strlen(entry->d_name) == 10 && strspn(entry->d_name, "0123456789abcdef") == 8 &&
                bx_ends_with(entry->d_name, ".0");
    if (dir)
        closedir(dir);
    return found;
}

struct bx_http *bx_http_new(const struct bx_http_config *config, struct bx_err *err)
{
    struct bx_http *h = calloc(1, sizeof(*h));
    const curl_version_info_data *info;
    int bad = 0;

    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT))
        goto fail;
    h->config = *config;
    info = curl_version_info(CURLVERSION_NOW);
    if (info->capath && has_hashes(info->capath))
        h->ca_path = info->capath;
    else
        h->ca_file = info->cainfo;
    h->multi = curl_multi_init();
    h->timer = bx_loop_add_timer(config->loop, on_timer, h);
    if (!h->multi || !h->timer)
        goto fail;
    bad |= curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    bad |= curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    bad |= curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    bad |= curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    if (!bad)
        return h;
fail:
    if (h) {
        curl_multi_cleanup(h->multi);
        bx_source_remove(h->timer);
        free(h);
    }
    bx_fail(err, BX_ERESOURCE, ENOMEM, "start libcurl");
    return NULL;
}
