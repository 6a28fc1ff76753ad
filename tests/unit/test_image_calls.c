/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that name, remove and describe images: misuse, odd rows, the end of a runtime in the middle of
 * them. Images are put into the home as a load leaves them. */
#include "api_help.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "store/store.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A64    HEX("aa")
#define B64    HEX("ab")
#define C64    HEX("c0")
#define D64    HEX("d0")
#define CONFIG                                                                                               \
    "{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Cmd\":[\"sh\",\"\\u0007\"],\"User\":\"me\"}" \
    "}"

static void on_pruned(const CImagePruneResult *r, CBoxliteError *e, void *ud)
{
    struct answer *a = ud;

    answer_take(a, e);
    if (!e) {
        assert_non_null(r);
        assert_int_equal(r->size, sizeof(*r));
        a->number = r->images;
        a->flag = r->blobs > 0;
    } else {
        assert_null(r);
    }
}

static void put_blob(struct home *h, const char *hex, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/blobs/sha256/%s", h->path, hex);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* An image of two layers, the second of which is `layer`. */
static void put_image(struct home *h, const char *reference, const char *manifest, const char *config,
                      const char *layer)
{
    char text[1024], digest[80], config_digest[80];
    struct bx_store *store = NULL;
    struct bx_image_row row = {.reference = (char *)(uintptr_t)reference,
                               .manifest_digest = digest,
                               .config_digest = config_digest,
                               .manifest = text,
                               .layer_count = 2,
                               .cached_ms = 1000};

    snprintf(
        text, sizeof(text),
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"config\":{\"mediaType\":\"application/"
        "vnd.oci.image.config.v1+json\",\"digest\":\"sha256:%s\",\"size\":9},"
        "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:" D64
        "\",\"size\":5},"
        "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:%s\",\"size\":5}]}",
        config, layer);
    snprintf(digest, sizeof(digest), "sha256:%s", manifest);
    snprintf(config_digest, sizeof(config_digest), "sha256:%s", config);
    put_blob(h, manifest, text);
    put_blob(h, config, CONFIG);
    put_blob(h, D64, "base!");
    put_blob(h, layer, "layer");
    assert_int_equal(bx_store_open(h->path, &store, NULL), 0);
    assert_int_equal(bx_store_image_put(store, &row, NULL), 0);
    bx_store_close(store);
}

static CBoxliteImageHandle *images_of(struct home *h)
{
    CBoxliteImageHandle *images = NULL;

    assert_int_equal(boxlite_runtime_images(h->rt, &images, NULL), Ok);
    return images;
}

static struct answer remove_image(struct home *h, CBoxliteImageHandle *images, const char *name, int force)
{
    struct answer a = {0};

    assert_int_equal(boxlite_image_remove(images, name, force, on_pruned, &a, NULL), Ok);
    assert_int_equal(a.done, 0); /* never from inside the call */
    DRAIN_UNTIL(h->rt, a.done);
    return a;
}

static struct answer tag_image(struct home *h, CBoxliteImageHandle *images, const char *source,
                               const char *target)
{
    struct answer a = {0};

    assert_int_equal(boxlite_image_tag(images, source, target, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    return a;
}

static void misuse_is_refused(void **state)
{
    struct home *h = *state;
    CBoxliteImageHandle *images = images_of(h);
    BoxliteImagePrune o = BOXLITE_IMAGE_PRUNE_INIT;
    BoxliteImageWarm warm = BOXLITE_IMAGE_WARM_INIT;
    CBoxliteError e = {Ok, NULL};
    char *huge = malloc(1 << 20);

    memset(huge, 'a', (1 << 20) - 1);
    huge[(1 << 20) - 1] = '\0';
    assert_int_equal(boxlite_image_tag(NULL, "a", "b", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_tag(images, NULL, "b", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_tag(images, "a", NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_tag(images, "a", "b", NULL, NULL, &e), InvalidArgument);
    assert_string_equal(e.message, "invalid argument: cb is NULL");
    boxlite_error_free(&e);
    assert_int_equal(boxlite_image_tag(images, "a", "", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_tag(images, "a", huge, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_tag(images, "a", "\xff\xfe", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_tag(images, "a", "b@sha256:" A64, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_remove(NULL, "a", 0, on_pruned, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_remove(images, NULL, 0, on_pruned, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_remove(images, "a", 0, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_prune(NULL, NULL, on_pruned, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_prune(images, NULL, NULL, NULL, NULL), InvalidArgument);
    o.keep_bytes = 1;
    assert_int_equal(boxlite_image_prune(images, &o, on_pruned, NULL, &e), InvalidArgument);
    assert_non_null(strstr(e.message, "keep_bytes"));
    boxlite_error_free(&e);
    o.all = 1;
    o.older_than_secs = UINT64_MAX;
    assert_int_equal(boxlite_image_prune(images, &o, on_pruned, NULL, NULL), InvalidArgument);
    o.size = 0;
    assert_int_equal(boxlite_image_prune(images, &o, on_pruned, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_warm(NULL, "a", NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_warm(images, NULL, NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_warm(images, "a", NULL, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_warm(images, huge, NULL, on_plain, NULL, NULL), InvalidArgument);
    warm.cpus = 1000;
    assert_int_equal(boxlite_image_warm(images, "a", &warm, on_plain, NULL, &e), InvalidArgument);
    assert_non_null(strstr(e.message, "cpus must be 1 to"));
    boxlite_error_free(&e);
    warm.cpus = 0;
    warm.memory_mib = -1;
    assert_int_equal(boxlite_image_warm(images, "a", &warm, on_plain, NULL, &e), InvalidArgument);
    assert_string_equal(e.message, "invalid argument: options: memory_mib is negative");
    boxlite_error_free(&e);
    warm.size = 0;
    assert_int_equal(boxlite_image_warm(images, "a", &warm, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_inspect(NULL, "a", on_info, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_inspect(images, NULL, on_info, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_inspect(images, "a", NULL, NULL, NULL), InvalidArgument);
    ASSERT_ANSWER(remove_image(h, images, huge, 1), Image);
    ASSERT_ANSWER(remove_image(h, images, "", 1), Image);
    ASSERT_ANSWER(remove_image(h, images, "\xff", 0), Image);
    ASSERT_ANSWER(remove_image(h, images, "sha256:", 0), Image);
    ASSERT_ANSWER(tag_image(h, images, huge, "b"), Image);
    free(huge);
    boxlite_image_free(images);
}

/* Options of an older program, and of a newer one. */
static void options_of_any_size_are_taken(void **state)
{
    struct home *h = *state;
    CBoxliteImageHandle *images = images_of(h);
    struct {
        BoxliteImagePrune o;
        char more[64];
    } newer = {.o = BOXLITE_IMAGE_PRUNE_INIT};
    BoxliteImagePrune older = BOXLITE_IMAGE_PRUNE_INIT;
    struct answer a = {0};

    put_image(h, "docker.io/library/one:1", A64, C64, B64);
    newer.o.size = sizeof(newer);
    newer.o.dry_run = newer.o.all = 1;
    memset(newer.more, 0xff, sizeof(newer.more));
    assert_int_equal(boxlite_image_prune(images, &newer.o, on_pruned, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(a.number, 1);
    older.size = offsetof(BoxliteImagePrune, all); /* knows nothing but size */
    older.all = 1;
    assert_int_equal(boxlite_image_prune(images, &older, on_pruned, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done == 2);
    assert_int_equal(a.number, 0);
    boxlite_image_free(images);
}

static void an_id_that_two_images_share_the_start_of_is_refused(void **state)
{
    struct home *h = *state;
    CBoxliteImageHandle *images = images_of(h);
    struct answer a;

    put_image(h, "docker.io/library/one:1", A64, C64, HEX("e1"));
    put_image(h, "docker.io/library/two:1", B64, HEX("c1"), HEX("e2"));
    ASSERT_ANSWER(tag_image(h, images, "aaaa", "uno:1"), Ok);
    ASSERT_ANSWER(tag_image(h, images, "aa", "uno:1"), Image); /* too short */
    put_image(h, "docker.io/library/six:1", HEX("ac"), HEX("c0") /* the configuration of one */, HEX("e3"));
    a = tag_image(h, images, "c0c0", "uno:1");
    ASSERT_ANSWER(a, Image);
    assert_non_null(strstr(a.message, "more than one image"));
    ASSERT_ANSWER(remove_image(h, images, HEX("c0"), 1), Image);
    boxlite_image_free(images);
}

static void facts_say_what_the_image_says(void **state)
{
    struct home *h = *state;
    CBoxliteImageHandle *images = images_of(h);
    struct answer a = {0};
    CBoxliteInfo *info;

    put_image(h, "docker.io/library/one:1", A64, C64, HEX("e1"));
    assert_int_equal(boxlite_image_inspect(images, "one:1", on_info, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    info = a.result;
    assert_string_equal(boxlite_info_get(info, "reference"), "docker.io/library/one:1");
    assert_string_equal(boxlite_info_get(info, "id"), "sha256:" C64);
    assert_string_equal(boxlite_info_get(info, "manifest"), "sha256:" A64);
    assert_string_equal(boxlite_info_get(info, "cmd"), "[\"sh\",\"\\u0007\"]");
    assert_string_equal(boxlite_info_get(info, "user"), "me");
    assert_null(boxlite_info_get(info, "entrypoint"));
    assert_string_equal(boxlite_info_get(info, "layers"), "2");
    assert_string_equal(boxlite_info_get(info, "shared_size"), "0");
    assert_string_equal(boxlite_info_get(info, "boxes"), "0");
    boxlite_info_free(info);

    /* Without its configuration it cannot be described, but removed. */
    {
        char path[256];

        snprintf(path, sizeof(path), "%s/blobs/sha256/" C64, h->path);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(boxlite_image_inspect(images, "one:1", on_info, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done == 2);
    assert_int_not_equal(a.code, Ok);
    assert_null(a.result);
    ASSERT_ANSWER(remove_image(h, images, "one:1", 0), Ok);
    boxlite_image_free(images);
}

static void a_row_that_cannot_be_read_stops_collection_and_nothing_is_lost(void **state)
{
    struct home *h = *state;
    CBoxliteImageHandle *images = images_of(h);
    struct bx_store *store = NULL;
    struct answer a = {0};
    char path[256];
    struct bx_image_row row = {.reference = (char *)(uintptr_t) "docker.io/library/odd:1",
                               .manifest_digest = (char *)(uintptr_t) "sha256:" B64,
                               .config_digest = (char *)(uintptr_t) "sha256:" C64,
                               .manifest = (char *)(uintptr_t) "{\"not\":"};

    put_image(h, "docker.io/library/one:1", A64, C64, HEX("e1"));
    put_blob(h, HEX("e9"), "whose?");
    assert_int_equal(bx_store_open(h->path, &store, NULL), 0);
    assert_int_equal(bx_store_image_put(store, &row, NULL), 0);
    assert_int_equal(boxlite_image_prune(images, NULL, on_pruned, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Image);
    assert_non_null(strstr(a.message, "odd:1"));
    snprintf(path, sizeof(path), "%s/blobs/sha256/" HEX("e9"), h->path);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(bx_store_image_delete(store, "docker.io/library/odd:1", NULL), 0);
    bx_store_close(store);
    assert_int_equal(boxlite_image_prune(images, NULL, on_pruned, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done == 2);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(access(path, F_OK), -1);
    boxlite_image_free(images);
}

static void removals_at_once_are_answered_each(void **state)
{
    enum { N = 12 };
    struct home *h = *state;
    CBoxliteImageHandle *images = images_of(h);
    struct answer a[N] = {0};
    int i, done = 0, removed = 0;

    put_image(h, "docker.io/library/one:1", A64, C64, HEX("e1"));
    put_image(h, "docker.io/library/two:1", B64, HEX("c1"), HEX("e2"));
    for (i = 0; i < N; i++)
        assert_int_equal(
            i % 3 ? boxlite_image_remove(images, i % 2 ? "one:1" : "two:1", 0, on_pruned, &a[i], NULL)
                  : boxlite_image_prune(images, NULL, on_pruned, &a[i], NULL),
            Ok);
    DRAIN_UNTIL(h->rt, ({
                    for (i = done = 0; i < N; i++)
                        done += a[i].done;
                    done == N;
                }));
    for (i = 0; i < N; i++)
        removed += a[i].code == Ok ? a[i].number : 0;
    assert_int_equal(removed, 2);
    boxlite_image_free(images);
}

/* Nothing is lost but what was taken out of sight already. */
static void the_runtime_may_end_in_the_middle(void **state)
{
    struct home *h = *state;
    BoxliteImagePrune o = BOXLITE_IMAGE_PRUNE_INIT;
    int turns;

    o.all = 1;
    for (turns = 0; turns < 12; turns++) {
        struct answer a = {0}, b = {0};
        CBoxliteImageHandle *images = images_of(h);

        put_image(h, "docker.io/library/one:1", A64, C64, HEX("e1"));
        put_image(h, "docker.io/library/two:1", B64, HEX("c1"), HEX("e2"));
        assert_int_equal(boxlite_image_prune(images, &o, on_pruned, &a, NULL), Ok);
        assert_int_equal(boxlite_image_remove(images, "one:1", 0, on_pruned, &b, NULL), Ok);
        for (int i = 0; i < turns; i++)
            assert_true(boxlite_runtime_drain(h->rt, 0, NULL) >= 0);
        boxlite_runtime_free(h->rt);
        assert_int_equal(boxlite_image_prune(images, &o, on_pruned, &a, NULL), Stopped);
        assert_int_equal(boxlite_image_tag(images, "one:1", "two:1", on_plain, &a, NULL), Stopped);
        assert_int_equal(boxlite_image_inspect(images, "one:1", on_info, &a, NULL), Stopped);
        boxlite_image_free(images);
        h->rt = open_runtime(h->path);
    }
    {
        struct answer a = {0};
        CBoxliteImageHandle *images = images_of(h);
        char command[256];

        assert_int_equal(boxlite_image_prune(images, &o, on_pruned, &a, NULL), Ok);
        DRAIN_UNTIL(h->rt, a.done);
        ASSERT_ANSWER(a, Ok);
        boxlite_image_free(images);
        snprintf(command, sizeof(command), "%s/tmp", h->path);
        assert_int_equal(rmdir(command), 0); /* empty */
        assert_int_equal(mkdir(command, 0700), 0);
        snprintf(command, sizeof(command), "%s/blobs/sha256", h->path);
        assert_int_equal(rmdir(command), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(misuse_is_refused, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(options_of_any_size_are_taken, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(an_id_that_two_images_share_the_start_of_is_refused, home_setup,
                                        home_teardown),
        cmocka_unit_test_setup_teardown(facts_say_what_the_image_says, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(a_row_that_cannot_be_read_stops_collection_and_nothing_is_lost,
                                        home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(removals_at_once_are_answered_each, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(the_runtime_may_end_in_the_middle, home_setup, home_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
