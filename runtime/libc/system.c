/*
 * runtime/libc/system.c: what newlib 4.5 expects of the system below it, and that is little: there are no files,
 * processes or signals here, so only what ends a program is left: abort() here, failed assertions and overrun stacks
 * in kernel/symbols.c. A call that is not here does not link, which is how one learns at once that, say, fopen() or
 * printf() has no place in the image; the log is log_print().
 */
#include <stdlib.h>

#include "kernel/kernel.h"

void abort(void)
{
    panic("abort() called from %p", __builtin_return_address(0));
}
