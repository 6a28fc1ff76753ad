/* SPDX-License-Identifier: Apache-2.0 */
/* The images of the store: a second name, what is known of it, the list, and away with the name. */
#include "example.h"

static void on_list(CImageInfoList *list, CBoxliteError *error, void *user_data)
{
    int i;

    on_done(error, user_data);
    for (i = 0; i < list->count; i++)
        printf("%s:%s %.19s\n", list->items[i].repository, list->items[i].tag, list->items[i].id);
    boxlite_free_image_info_list(list);
}

static void on_facts(CBoxliteInfo *info, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    printf("%s for %s/%s, %s layers\n", boxlite_info_get(info, "reference"), boxlite_info_get(info, "os"),
           boxlite_info_get(info, "arch"), boxlite_info_get(info, "layers"));
    boxlite_info_free(info);
}

static void on_removed(const CImagePruneResult *result, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    printf("names removed: %d\n", result->images);
}

int main(int argc, char **argv)
{
    CBoxliteImageHandle *images = NULL;
    struct answer tagged = {0, NULL}, known = {0, NULL}, listed = {0, NULL}, removed = {0, NULL};

    if (argc < 2) {
        fprintf(stderr, "usage: images IMAGE\n");
        return 2;
    }
    open_runtime();
    CHECK(boxlite_runtime_images(runtime, &images, &error));
    CHECK(boxlite_image_tag(images, argv[1], "example:tagged", on_done, &tagged, &error));
    wait_for(&tagged.done);
    CHECK(boxlite_image_inspect(images, "example:tagged", on_facts, &known, &error));
    wait_for(&known.done);
    CHECK(boxlite_image_list(images, on_list, &listed, &error));
    wait_for(&listed.done);
    CHECK(boxlite_image_remove(images, "example:tagged", 0, on_removed, &removed, &error));
    wait_for(&removed.done);
    boxlite_image_free(images);
    boxlite_runtime_free(runtime);
    return 0;
}
