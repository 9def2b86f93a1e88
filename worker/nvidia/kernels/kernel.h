/* How a kernel is written: once, in the C that CUDA and C share, for the GPU and for the host.
 *
 *     struct half { const u8 *source; u8 *target; int width; int height; };
 *     KERNEL(half, half)             // name, the struct it is given; both may have one name
 *     {
 *         if (x >= a->width || y >= a->height) return;
 *         a->target[y * a->width + x] = a->source[y * a->width + x] / 2;
 *     }
 *     KERNELS = { LISTED(half, half), NO_MORE };
 *
 * The body is done for every place (`x`, `y`) of a rectangle, in any order; `a` is what it is given, the same for all.
 * It knows nothing of threads, blocks or shared memory, computes with integers alone, and checks every index: the
 * rectangle may be larger than the picture. So GPU and host give the same bytes.
 *
 * GPU (`clang -x cuda`): `extern "C" __global__ void half(const struct half a)`, one argument of that size.
 * A launch takes a grid and blocks whose product covers the rectangle.
 *
 * Host (`cc -x c`): `nvidia_kernels` lists every kernel by the name it has on the GPU:
 *
 *     for (const struct kernel *kernel = nvidia_kernels; kernel->name; kernel++) ...
 *     kernel->run(argument, width, height);    // argument: `argument_bytes` long, kernelParams[0] of cuLaunchKernel
 *
 * where width = grid.x * block.x, height = grid.y * block.y. It comes back when all is done, and may run in any thread. */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef short i16;
typedef unsigned int u32;
typedef long long i64;

#ifdef __CUDA__

#define PART static inline __attribute__((device, always_inline))

#define KERNEL(name, given)                                                                                           \
    PART void name##_at(const struct given *a, int x, int y);                                                         \
    extern "C" __attribute__((global)) void name(const struct given a)                                                \
    {                                                                                                                 \
        name##_at(&a, (int)(__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() +                          \
                            __nvvm_read_ptx_sreg_tid_x()),                                                            \
                  (int)(__nvvm_read_ptx_sreg_ctaid_y() * __nvvm_read_ptx_sreg_ntid_y() +                              \
                        __nvvm_read_ptx_sreg_tid_y()));                                                               \
    }                                                                                                                 \
    PART void name##_at(const struct given *a, int x, int y)

#else

/* A kernel of the host. The list ends with a name that is null. */
struct kernel {
    const char *name;
    unsigned argument_bytes;
    void (*run)(const void *argument, unsigned width, unsigned height);
};

#define PART static inline

#define KERNEL(name, given)                                                                                           \
    static inline void name##_at(const struct given *a, int x, int y);                                                \
    static void name##_run(const void *argument, unsigned width, unsigned height)                                     \
    {                                                                                                                 \
        const struct given a = *(const struct given *)argument;                                                       \
        for (unsigned y = 0; y < height; y++)                                                                         \
            for (unsigned x = 0; x < width; x++)                                                                      \
                name##_at(&a, (int)x, (int)y);                                                                        \
    }                                                                                                                 \
    static inline void name##_at(const struct given *a, int x, int y)

#define KERNELS extern const struct kernel nvidia_kernels[]; const struct kernel nvidia_kernels[]
#define LISTED(name, given) { #name, sizeof(struct given), name##_run }
#define NO_MORE { 0, 0, 0 }

#endif
#endif
