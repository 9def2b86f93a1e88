/* From a decoded picture to one rung: scaled, its range and depth converted, HDR shown as SDR, turned.
 *
 * Samples are 4:2:0, luma in one plane and U, V by turns in the other; 8 bit, or 16 bit of which the upper ones count.
 * Strides ("pitch") are in bytes. How kernels are written: kernel.h. */
#include "kernel.h"

/* Weights are parts of 16384 and add up to it. */
#define WEIGHT_BITS 14

/* Bits behind the point of 32 bit numbers, and of 64 bit ones. */
#define POINT 22
#define FINE_POINT 32

PART int clamp(int value, int least, int most)
{
    return value < least ? least : value > most ? most : value;
}

/* ---- Scaling: every output sample is a weighted sum of `taps` source samples, from `first[n]` on. ---- */

/* The first of two passes: columns. */
struct columns {
    const u8 *source;   /* the window's first sample */
    u16 *middle;        /* values of `most` at most: 8 bit samples times 256, others as they are */
    const int *first;   /* for each output row */
    const i16 *weights; /* for each output row, `taps` of them */
    int source_pitch;
    int middle_pitch;
    int width;          /* samples in a row, U and V counted apart */
    int source_height;  /* of the window */
    int height;         /* output rows */
    int taps;
    int deep;           /* 16 bit samples */
    int shift;          /* by how much 16 bit samples are too large */
    int most;
};

KERNEL(columns, columns)
{
    if (x >= a->width || y >= a->height) return;
    const i16 *weights = a->weights + (i64)y * a->taps;
    int sum = 1 << (WEIGHT_BITS - 1);
    for (int tap = 0; tap < a->taps; tap++) {
        int row = clamp(a->first[y] + tap, 0, a->source_height - 1);
        const u8 *line = a->source + (i64)row * a->source_pitch;
        int value = a->deep ? ((const u16 *)line)[x] >> a->shift : line[x] << 8;
        sum += weights[tap] * value;
    }
    u16 *line = (u16 *)((u8 *)a->middle + (i64)y * a->middle_pitch);
    line[x] = (u16)clamp(sum >> WEIGHT_BITS, 0, a->most);
}

/* The order in which a 16 by 16 square of samples is rounded up: Bayer's matrix, turned for each plane so that the
 * planes' patterns don't add up. */
PART int bayer(int x, int y, int plane)
{
    int place = 0;
    if (plane == 1) x = 15 - (x & 15);
    if (plane == 2) y = 15 - (y & 15);
    for (int bit = 0; bit < 4; bit++) {
        int across = x >> bit & 1, down = y >> bit & 1;
        place |= (2 * (across ^ down) + across) << (6 - 2 * bit);
    }
    return place;
}

/* What is added before the bits behind the point are cut off: a half, or by turns more and less. */
PART int rounding(int dither, int x, int y, int plane)
{
    return dither ? (bayer(x, y, plane) + 1) * ((1 << POINT) / 257) : 1 << (POINT - 1);
}

/* The second pass: rows; and from the middle's values to the target's. */
struct rows {
    const u16 *middle;
    u8 *target;
    const int *first;   /* for each output column */
    const i16 *weights; /* for each output column, `taps` of them */
    i64 gain;           /* output = (value * gain + offset) >> FINE_POINT */
    i64 offset;
    int middle_pitch;
    int target_pitch;
    int channels;       /* 2 where U and V take turns */
    int source_width;   /* samples of one channel */
    int width;          /* output samples of one channel */
    int height;
    int taps;
    int most;           /* of the middle */
    int deep;           /* the target takes 16 bit */
    int target_most;
    int dither;
};

KERNEL(rows, rows)
{
    int channel = a->channels == 2 ? x & 1 : 0, column = a->channels == 2 ? x >> 1 : x;
    if (column >= a->width || y >= a->height) return;
    const u16 *line = (const u16 *)((const u8 *)a->middle + (i64)y * a->middle_pitch);
    const i16 *weights = a->weights + (i64)column * a->taps;
    int sum = 1 << (WEIGHT_BITS - 1);
    for (int tap = 0; tap < a->taps; tap++) {
        int sample = clamp(a->first[column] + tap, 0, a->source_width - 1);
        sum += weights[tap] * line[sample * a->channels + channel];
    }
    i64 value = clamp(sum >> WEIGHT_BITS, 0, a->most);
    int plane = a->channels == 2 ? 1 + channel : 0;
    i64 up = (i64)rounding(a->dither, column, y, plane) << (FINE_POINT - POINT);
    value = value * a->gain + a->offset + up;
    int output = (int)(value >> FINE_POINT);
    /* A half goes to the even neighbour, as in zimg. */
    if (!a->dither && (value & (((i64)1 << FINE_POINT) - 1)) == 0) output &= ~1;
    output = clamp(output, 0, a->target_most);
    u8 *target = a->target + (i64)y * a->target_pitch;
    if (a->deep) ((u16 *)target)[x] = (u16)output;
    else target[x] = (u8)output;
}

/* ---- HDR: every colour is looked up in a table. ---- */

/* YCbCr of BT.2020, limited range, to R'G'B' shown on an SDR screen. */
struct show {
    const u16 *luma;
    const u16 *chroma;
    u16 *colors;      /* R, G, B and nothing for each luma sample, up to 65535 */
    const u16 *table; /* `edge` cubed colours of R, G, B; red runs fastest */
    int luma_pitch;
    int chroma_pitch;
    int colors_pitch;
    int width;
    int height;
    int edge;
    int luma_gain;    /* parts of 65535 for one step of luma, times 1024 */
    int red_from_v;   /* the same for an eighth of a step of chroma */
    int green_from_u;
    int green_from_v;
    int blue_from_u;
    int black;        /* luma's */
    int grey;         /* chroma's */
};

/* One channel of chroma at a place of luma, times 8. Its samples lie on the even columns, between the rows. */
PART int chroma_at(const struct show *a, int x, int y, int channel)
{
    int width = (a->width + 1) / 2, height = (a->height + 1) / 2, sum = 0;
    for (int down = 0; down < 2; down++) {
        int row = clamp(down ? y / 2 + (y & 1 ? 1 : -1) : y / 2, 0, height - 1);
        const u16 *line = (const u16 *)((const u8 *)a->chroma + (i64)row * a->chroma_pitch);
        int left = line[2 * clamp(x / 2, 0, width - 1) + channel];
        int right = line[2 * clamp((x + 1) / 2, 0, width - 1) + channel];
        sum += (left + right) * (down ? 1 : 3);
    }
    return sum - 8 * a->grey;
}

/* A corner of the table's cell, by the bits of `corner`: red, green, blue. */
PART u32 corner(const struct show *a, const int *cell, int which, int component)
{
    i64 red = cell[0] + (which & 1), green = cell[1] + (which >> 1 & 1), blue = cell[2] + (which >> 2 & 1);
    return a->table[((blue * a->edge + green) * a->edge + red) * 3 + component];
}

KERNEL(show, show)
{
    if (x >= a->width || y >= a->height) return;
    const u16 *line = (const u16 *)((const u8 *)a->luma + (i64)y * a->luma_pitch);
    int luma = (line[x] - a->black) * a->luma_gain + 512;
    int u = chroma_at(a, x, y, 0), v = chroma_at(a, x, y, 1);
    int color[3], cell[3], part[3];
    color[0] = luma + v * a->red_from_v;
    color[1] = luma + u * a->green_from_u + v * a->green_from_v;
    color[2] = luma + u * a->blue_from_u;
    for (int component = 0; component < 3; component++) {
        int place = clamp(color[component] >> 10, 0, 65535) * (a->edge - 1);
        cell[component] = clamp(place / 65535, 0, a->edge - 2);
        part[component] = place - cell[component] * 65535;
    }
    /* Of the cell's six tetrahedra the one that holds the colour: from black along the components, largest part first. */
    int largest = part[0] >= part[1] ? (part[0] >= part[2] ? 0 : 2) : (part[1] >= part[2] ? 1 : 2);
    int least = part[0] < part[1] ? (part[0] < part[2] ? 0 : 2) : (part[1] < part[2] ? 1 : 2);
    int middle = 3 - largest - least;
    u16 *shown = (u16 *)((u8 *)a->colors + (i64)y * a->colors_pitch) + 4 * x;
    for (int component = 0; component < 3; component++) {
        u32 sum = 32767 + corner(a, cell, 0, component) * (u32)(65535 - part[largest]) +
                  corner(a, cell, 1 << largest, component) * (u32)(part[largest] - part[middle]) +
                  corner(a, cell, 1 << largest | 1 << middle, component) * (u32)(part[middle] - part[least]) +
                  corner(a, cell, 7, component) * (u32)part[least];
        shown[component] = (u16)(sum / 65535);
    }
}

/* R'G'B' to YCbCr of BT.709, limited range, 8 bit, dithered. A place is four luma samples and their chroma. */
struct mix {
    const u16 *colors; /* as above */
    u8 *luma;
    u8 *chroma;
    int colors_pitch;
    int luma_pitch;
    int chroma_pitch;
    int width;
    int height;
};

/* 219 / 65535 of BT.709's luma, and 224 / 65535 of its colour differences, with POINT bits behind the point. */
#define LUMA_OF(red, green, blue) (2980 * (red) + 10024 * (green) + 1012 * (blue))
#define U_OF(red, green, blue) (-1643 * (red) - 5525 * (green) + 7168 * (blue))
#define V_OF(red, green, blue) (7168 * (red) - 6511 * (green) - 657 * (blue))

KERNEL(mix, mix)
{
    if (2 * x >= a->width || 2 * y >= a->height) return;
    for (int row = 2 * y; row < 2 * y + 2 && row < a->height; row++) {
        const u16 *line = (const u16 *)((const u8 *)a->colors + (i64)row * a->colors_pitch);
        for (int column = 2 * x; column < 2 * x + 2 && column < a->width; column++) {
            const u16 *color = line + 4 * column;
            int luma = LUMA_OF(color[0], color[1], color[2]) + (16 << POINT) + rounding(1, column, row, 0);
            a->luma[(i64)row * a->luma_pitch + column] = (u8)clamp(luma >> POINT, 0, 255);
        }
    }
    /* Chroma lies on the even column: 1 2 1 across; and between two rows: 1 3 3 1 down. */
    int red = 16, green = 16, blue = 16;
    for (int down = -1; down < 3; down++) {
        int row = clamp(2 * y + down, 0, a->height - 1);
        const u16 *line = (const u16 *)((const u8 *)a->colors + (i64)row * a->colors_pitch);
        for (int across = -1; across < 2; across++) {
            const u16 *color = line + 4 * clamp(2 * x + across, 0, a->width - 1);
            int weight = (across ? 1 : 2) * (down == 0 || down == 1 ? 3 : 1);
            red += weight * color[0], green += weight * color[1], blue += weight * color[2];
        }
    }
    red >>= 5, green >>= 5, blue >>= 5;
    int u = U_OF(red, green, blue) + (128 << POINT) + rounding(1, x, y, 1);
    int v = V_OF(red, green, blue) + (128 << POINT) + rounding(1, x, y, 2);
    u8 *chroma = a->chroma + (i64)y * a->chroma_pitch + 2 * x;
    chroma[0] = (u8)clamp(u >> POINT, 0, 255);
    chroma[1] = (u8)clamp(v >> POINT, 0, 255);
}

/* ---- Moving samples. ---- */

/* Turns and mirrors a plane: the target's sample (x, y) is the source's (from_x + x * x_by_x + y * x_by_y, ...). */
struct turn {
    const u8 *source;
    u8 *target;
    int source_pitch;
    int target_pitch;
    int source_width; /* in samples; a pair of U and V is one */
    int source_height;
    int width;
    int height;
    int bytes;        /* of a sample: 1 or 2 */
    int from_x, x_by_x, x_by_y;
    int from_y, y_by_x, y_by_y;
};

KERNEL(turn, turn)
{
    if (x >= a->width || y >= a->height) return;
    int column = clamp(a->from_x + x * a->x_by_x + y * a->x_by_y, 0, a->source_width - 1);
    int row = clamp(a->from_y + x * a->y_by_x + y * a->y_by_y, 0, a->source_height - 1);
    const u8 *source = a->source + (i64)row * a->source_pitch;
    u8 *target = a->target + (i64)y * a->target_pitch;
    if (a->bytes == 2) ((u16 *)target)[x] = ((const u16 *)source)[column];
    else target[x] = source[column];
}

/* A plane of pairs and the two planes that it is made of. */
struct pairs {
    u8 *pairs;
    u8 *first;
    u8 *second;
    int pairs_pitch;
    int plane_pitch; /* of the two */
    int width;       /* pairs in a row */
    int height;
};

KERNEL(split, pairs)
{
    if (x >= a->width || y >= a->height) return;
    const u8 *pair = a->pairs + (i64)y * a->pairs_pitch + 2 * x;
    a->first[(i64)y * a->plane_pitch + x] = pair[0];
    a->second[(i64)y * a->plane_pitch + x] = pair[1];
}

KERNEL(join, pairs)
{
    if (x >= a->width || y >= a->height) return;
    u8 *pair = a->pairs + (i64)y * a->pairs_pitch + 2 * x;
    pair[0] = a->first[(i64)y * a->plane_pitch + x];
    pair[1] = a->second[(i64)y * a->plane_pitch + x];
}

#ifndef __CUDA__
KERNELS = {
    LISTED(columns, columns), LISTED(rows, rows),   LISTED(show, show),   LISTED(mix, mix),
    LISTED(turn, turn),       LISTED(split, pairs), LISTED(join, pairs), NO_MORE,
};
#endif
