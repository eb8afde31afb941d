/*
 * runtime/http/api_files.c: GET /v1/volumes/NAME/files, one directory of a volume.
 *
 * The directory is read from the disk by the helper task; the connection waits without holding anybody up. A
 * listing whose peer leaves meanwhile is read to its end and dropped.
 */
#include "runtime/http/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/volume/volume.h"

#define LISTING_MAX       8 /* waiting at once; more get 503 */
#define LISTING_PATH_MAX  1024
#define LISTING_LIMIT     200 /* entries in a reply unless ?limit= says otherwise */
#define LISTING_LIMIT_MAX 1000

struct listing {
    char path[LISTING_PATH_MAX + 64]; /* "nvme0n1p1:/models" */
    uint64_t offset, limit, seen;
    bool is_used, is_abandoned, is_done, has_more;
    int error;
    char reason[200];
    yyjson_mut_doc *doc;
    yyjson_mut_val *entries;
};

static struct listing listings[LISTING_MAX];

static void listing_release(struct listing *listing)
{
    yyjson_mut_doc_free(listing->doc);
    *listing = (struct listing){0};
}

static int listing_add(void *arg, const struct file_info *info)
{
    struct listing *listing = arg;
    if (listing->is_abandoned)
        return 1;
    if (listing->seen++ < listing->offset)
        return 0;
    if (listing->seen > listing->offset + listing->limit) {
        listing->has_more = true;
        return 1;
    }
    char modified[TIME_TEXT_BYTES];
    yyjson_mut_doc *doc = listing->doc;
    yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, listing->entries);
    bool fits =
        yyjson_mut_obj_add_strcpy(doc, entry, "name", info->name) &&
        yyjson_mut_obj_add_str(doc, entry, "type", info->is_directory ? "directory" : "file") &&
        yyjson_mut_obj_add_uint(doc, entry, "size_bytes", info->size_bytes) &&
        (info->modified_ns && time_format(modified, info->modified_ns)
             ? yyjson_mut_obj_add_strcpy(doc, entry, "modified", modified)
             : yyjson_mut_obj_add_null(doc, entry, "modified")) &&
        yyjson_mut_obj_add_bool(doc, entry, "hidden", info->is_hidden) &&
        yyjson_mut_obj_add_bool(doc, entry, "read_only", info->is_read_only);
    if (fits)
        return 0;
    listing->error = -ENOMEM; /* seen here, as other documents are made while this one grows */
    return 1;
}

bool listing_step(void)
{
    for (unsigned i = 0; i < LISTING_MAX; i++) {
        struct listing *listing = &listings[i];
        if (!listing->is_used || listing->is_done)
            continue;
        if (!listing->is_abandoned && !listing->error) {
            int error = directory_list(listing->path, listing_add, listing, listing->reason,
                                       sizeof(listing->reason));
            if (error < 0)
                listing->error = error;
        }
        listing->is_done = true;
        if (listing->is_abandoned)
            listing_release(listing);
        else
            http_announce();
        return true;
    }
    return false;
}

static void listing_abandon(struct http_connection *c)
{
    struct listing *listing = c->work.listing;
    if (listing->is_done)
        listing_release(listing);
    else
        listing->is_abandoned = true;
}

static int listing_status(int error)
{
    switch (error) {
    case -ENOENT:
        return 404;
    case -ENOTDIR:
    case -EINVAL:
    case -ENAMETOOLONG:
        return 400;
    case -ENOMEM:
    case -ETIMEDOUT:
    case -ENODEV:
        return 503;
    default:
        return 500; /* the disk or what is on it */
    }
}

static void listing_reply(struct http_connection *c)
{
    struct listing *listing = c->work.listing;
    if (!listing->is_done)
        return;
    c->abandon = NULL;
    if (listing->error == -ENOMEM) {
        reply_out_of_memory(c);
    } else if (listing->error) {
        reply_problem(c, listing_status(listing->error), "path", "%s", listing->reason);
    } else {
        yyjson_mut_doc *doc = listing->doc;
        yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
        if (listing->has_more)
            yyjson_mut_obj_add_uint(doc, root, "next_offset", listing->offset + listing->limit);
        else
            yyjson_mut_obj_add_null(doc, root, "next_offset");
        listing->doc = NULL;
        reply_json(c, 200, doc);
    }
    listing_release(listing);
}

void api_files(struct http_connection *c)
{
    char path[LISTING_PATH_MAX] = "/";
    uint64_t offset = 0, limit = LISTING_LIMIT;
    if (!volume_find(c->captured)) {
        reply_problem(c, 404, "name",
                      "There is no volume of this name. GET /v1/volumes lists them.");
        return;
    }
    if (query_get(c, "path", path, sizeof(path)) < 0 || path[0] != '/') {
        reply_problem(c, 400, "path",
                      "path must be one absolute path of at most 1023 bytes, percent-encoded.");
        return;
    }
    if (query_uint(c, "offset", 0, UINT32_MAX, &offset) < 0) {
        reply_problem(c, 400, "offset", "offset must be a whole number.");
        return;
    }
    if (query_uint(c, "limit", 1, LISTING_LIMIT_MAX, &limit) < 0) {
        reply_problem(c, 400, "limit", "limit must be a whole number from 1 to 1000.");
        return;
    }
    struct listing *listing = NULL;
    for (unsigned i = 0; i < LISTING_MAX && !listing; i++)
        listing = listings[i].is_used ? NULL : &listings[i];
    if (!listing) {
        reply_problem(c, 503, NULL, "Other directories are being read. Try again in a moment.");
        return;
    }
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    *listing = (struct listing){.is_used = true, .offset = offset, .limit = limit, .doc = doc};
    snprintf(listing->path, sizeof(listing->path), "%.48s:%s", c->captured, path);
    yyjson_mut_obj_add_strcpy(doc, root, "volume", c->captured);
    yyjson_mut_obj_add_strcpy(doc, root, "path", path);
    listing->entries = yyjson_mut_obj_add_arr(doc, root, "entries");
    if (!listing->entries)
        listing->error = -ENOMEM;
    c->work.listing = listing;
    reply_later(c, listing_reply, listing_abandon);
    helper_wake();
}
