/*
 * kernel/screen.c: a text console on the frame buffer that the firmware set up.
 *
 * What is on the screen is remembered in RAM, because reading a frame buffer is slow: scrolling moves the
 * remembered text and draws only the cells that changed, several lines at a time, so that a fast log does not
 * move the whole screen for each line.
 */
#include <string.h>

#include "boot/boot.h"
#include "kernel/console.h"
#include "kernel/font.h"
#include "kernel/machine.h"

#define CELL_WIDTH     (FONT_WIDTH + 1)
#define CELL_HEIGHT    (FONT_HEIGHT + 1)
#define MARGIN         4   /* at the left and the top, in pixels of the font */
#define COLUMNS_WANTED 100 /* letters are as large as still gives this many columns */
#define COLUMNS_MAX    200
#define ROWS_MAX       120
#define SCROLL_ROWS    8

struct cell {
    char c;
    uint8_t colour;
};

SEALED static volatile uint32_t *pixels; /* of the first letter; NULL: no screen */
SEALED static uint32_t pitch, scale, columns, rows;
SEALED static uint32_t palette[3];
static uint32_t column, row;
static struct cell cells[ROWS_MAX][COLUMNS_MAX];
static _Atomic bool is_left,
    is_drawing; /* a driver has the memory now; some core is in screen_write() */

static uint32_t colour_make(const struct boot_screen *screen, uint32_t red, uint32_t green,
                            uint32_t blue)
{
    return red << screen->red_shift | green << screen->green_shift | blue << screen->blue_shift;
}

bool screen_start(void)
{
    const struct boot_screen *screen = &boot_info->screen;
    if (screen->width < 320 || screen->height < 200)
        return false; /* none, or nothing that text fits on */
    volatile uint32_t *mapped = mmio_map(screen->pa, screen->size_bytes, CACHE_WRITE_COMBINING);
    if (mapped == NULL)
        return false;
    pitch = screen->pitch_pixels;
    scale = screen->width / (CELL_WIDTH * COLUMNS_WANTED);
    if (scale == 0)
        scale = 1;
    uint32_t margin = MARGIN * scale;
    columns = (uint32_t)min_u64((screen->width - margin) / (CELL_WIDTH * scale), COLUMNS_MAX);
    rows = (uint32_t)min_u64((screen->height - margin) / (CELL_HEIGHT * scale), ROWS_MAX);
    if (columns < 20 || rows < SCROLL_ROWS + 2)
        return false;
    palette[SCREEN_PLAIN] = colour_make(screen, 0xd0, 0xd0, 0xd0);
    palette[SCREEN_WARN] = colour_make(screen, 0xff, 0xc8, 0x40);
    palette[SCREEN_ERROR] = colour_make(screen, 0xff, 0x60, 0x50);
    memset(cells, 0, sizeof(cells)); /* the boot loader has cleared the screen */
    pixels = mapped + (uint64_t)margin * pitch + margin;
    return true;
}

static void cell_draw(uint32_t at_row, uint32_t at_column)
{
    struct cell cell = cells[at_row][at_column];
    uint32_t colour = palette[cell.colour];
    bool is_blank = cell.c <= ' ' || cell.c > FONT_LAST;
    const uint8_t *glyph = font_rows[is_blank ? 0 : cell.c - FONT_FIRST];
    volatile uint32_t *line = pixels + (uint64_t)at_row * CELL_HEIGHT * scale * pitch +
                              (uint64_t)at_column * CELL_WIDTH * scale;
    for (uint32_t y = 0; y < FONT_HEIGHT * scale; y++, line += pitch) {
        uint32_t bits = glyph[y / scale];
        volatile uint32_t *pixel = line;
        for (uint32_t mask = 1u << (FONT_WIDTH - 1); mask != 0; mask >>= 1) {
            uint32_t value = bits & mask ? colour : 0;
            for (uint32_t x = 0; x < scale; x++)
                *pixel++ = value;
        }
    }
}

static void cell_set(uint32_t at_row, uint32_t at_column, struct cell cell)
{
    struct cell *old = &cells[at_row][at_column];
    bool was_blank = old->c <= ' ', is_blank = cell.c <= ' ';
    bool is_same = (was_blank && is_blank) || (old->c == cell.c && old->colour == cell.colour);
    *old = cell;
    if (!is_same)
        cell_draw(at_row, at_column);
}

static void line_next(void)
{
    column = 0;
    if (++row < rows)
        return;
    for (uint32_t y = 0; y < rows; y++) {
        for (uint32_t x = 0; x < columns; x++)
            cell_set(y, x,
                     y + SCROLL_ROWS < rows ? cells[y + SCROLL_ROWS][x]
                                            : (struct cell){' ', SCREEN_PLAIN});
    }
    row = rows - SCROLL_ROWS;
}

static void draw(const char *text, size_t length, enum screen_colour colour)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n') {
            line_next();
            continue;
        }
        if ((c & 0xc0) == 0x80)
            continue; /* the rest of a UTF-8 character whose first byte became a question mark */
        if (column == columns)
            line_next();
        cell_set(row, column++,
                 (struct cell){c >= ' ' && c <= FONT_LAST ? (char)c : '?', (uint8_t)colour});
    }
}

void screen_write(const char *text, size_t length, enum screen_colour colour)
{
    if (pixels == NULL)
        return;
    atomic_store(&is_drawing, true);
    if (!atomic_load(&is_left))
        draw(text, length, colour);
    atomic_store(&is_drawing, false);
}

bool screen_leave(uint64_t pa, uint64_t size_bytes)
{
    const struct boot_screen *screen = &boot_info->screen;
    if (pixels == NULL || screen->pa < pa || screen->pa - pa >= size_bytes)
        return false;
    bool was_left = atomic_exchange(&is_left, true);
    while (atomic_load(&is_drawing))
        task_yield();
    return !was_left;
}
