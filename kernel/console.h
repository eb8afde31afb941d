/*
 * kernel/console.h: where people see the log: serial port and screen. kernel/log.c is their only user, one core
 * at a time.
 */
#ifndef INGOT_CONSOLE_H
#define INGOT_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* kernel/serial.c: the first 16550 at 0x3f8, 115200 8N1. Text is buffered; a dead port swallows it. */
void serial_start(void);
bool serial_is_present(void);
void serial_write(const char *text, size_t length);
/* Give the port what it takes without waiting. True when there is more left. */
bool serial_drain(void);
void serial_flush(void); /* all of it, waiting at most 100 ms for each FIFO full */

/* kernel/screen.c: text on the frame buffer. */
enum screen_colour { SCREEN_PLAIN, SCREEN_WARN, SCREEN_ERROR };
bool screen_start(void); /* after paging_start(); false without a screen */
void screen_write(const char *text, size_t length, enum screen_colour colour);

/* ---- kernel/log.c ------------------------------------------------------------------------------------------------ */

void log_start(void);          /* before anything is logged */
void log_screen_start(void);   /* once paging is up; until then a panic is seen on the serial port only */
void log_previous_show(void);  /* lines that a crashed boot left behind, as LOG_INFO */
bool log_is_waiting(void);     /* there are lines that nobody has shown yet */
bool log_show_step(void);      /* show one, or feed the serial port; true if that was work. Another core may be at it */
void log_show_late(void);      /* show all if the oldest has waited for long: for cores that never idle */
/* From here on one core writes, whatever lock was held, and each line is out when the call returns. */
void log_panic_begin(void);
void log_mark_clean(void);     /* the machine goes down on purpose: the next boot need not show this log */

#endif
