/*
 * runtime/libc/system.c: what newlib 4.5 expects of the system below it, and that is little: there are no files, processes or
 * signals here, so only what ends a program is left. A call that is not here does not link, which is how one learns at once
 * that, say, fopen() or printf() has no place in the image; the log is log_print().
 */
#include <assert.h>
#include <stdlib.h>

#include "kernel/kernel.h"

/* A failed assert(). */
void __assert_func(const char *file, int line, const char *function, const char *expression)
{
    panic("%s:%d: %s: assertion failed: %s", file, line, function != NULL ? function : "?", expression);
}

void abort(void)
{
    panic("abort() called from %p", __builtin_return_address(0));
}

/* A function found its stack guard (-fstack-protector-strong, the word at %fs:0x28) changed. */
_Noreturn void __stack_chk_fail(void);
void __stack_chk_fail(void)
{
    panic("stack overrun in the caller of %p, task %s", __builtin_return_address(0), task_name());
}
