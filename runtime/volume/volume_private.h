/*
 * runtime/volume/volume_private.h: what volume.c and file.c share.
 */
#ifndef INGOT_VOLUME_PRIVATE_H
#define INGOT_VOLUME_PRIVATE_H

#include "runtime/volume/volume.h"

/* The volume of that name, kept in place until volume_release(). NULL: there is none. */
struct volume *volume_acquire(const char *name);
void volume_release(struct volume *volume);

#endif
