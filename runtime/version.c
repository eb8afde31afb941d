/* The version string, in a file of its own so that a new commit rebuilds one object. */
#include "runtime/runtime.h"

const char ingot_version[] = INGOT_VERSION;
