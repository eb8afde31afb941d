/*
 * tests/bench/gpu_cuda.cu: CUDA's half of `make hw-bench`: the same work through the driver API, with a spinning host thread.
 * Build: nvcc -O2 -arch=native -I. -o gpu-cuda tests/bench/gpu_cuda.cu -lcuda
 */
#include "tests/bench/gpu_bench.h"

#include <cuda.h>
#include <cuda_runtime.h>
#include <string.h>

static void check(int error, const char *what)
{
    if (error != 0) {
        fprintf(stderr, "gpu-cuda: %s: %d\n", what, error);
        exit(1);
    }
}
#define OK(call) check((int)(call), #call)

extern "C" __global__ void empty(unsigned long long unused)
{
}

extern "C" __global__ void vector_add(const float *a, const float *b, float *out, unsigned long long count)
{
    unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        out[i] = a[i] + b[i];
}

static void first_result(void)
{
    float *host, *device_in, *device_out;
    OK(cudaSetDeviceFlags(cudaDeviceScheduleSpin));
    OK(cudaMallocHost(&host, 4096));
    OK(cudaMalloc(&device_in, 4096));
    OK(cudaMalloc(&device_out, 4096));
    for (int i = 0; i < 1024; i++)
        host[i] = (float)i;
    OK(cudaMemcpy(device_in, host, 4096, cudaMemcpyHostToDevice));
    vector_add<<<4, 256>>>(device_in, device_in, device_out, 1024);
    OK(cudaMemcpy(host, device_out, 4096, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 1024; i++)
        if (host[i] != 2.0f * (float)i)
            check(1, "vector_add is wrong");
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    fflush(stdout);
}

static void launches(void)
{
    CUfunction function;
    CUstream stream;
    OK(cudaGetFuncBySymbol((cudaFunction_t *)&function, (const void *)empty));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    unsigned long long unused = 0;
    void *parameters[] = {&unused};
#define LAUNCH() OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, parameters, NULL))
    for (int i = 0; i < LATENCY_LAUNCHES + 200; i++) {
        double start = now_s();
        LAUNCH();
        OK(cuStreamSynchronize(stream));
        if (i >= 200)
            sample(1e6 * (now_s() - start));
    }
    report("empty kernel, launch to completion", "us");
    for (int round = 0; round < STREAM_ROUNDS; round++) {
        double start = now_s();
        for (int i = 0; i < STREAM_LAUNCHES; i++)
            LAUNCH();
        OK(cuStreamSynchronize(stream));
        sample(1e6 * (now_s() - start) / STREAM_LAUNCHES);
    }
    report("launches back to back, each submitted", "us each");
    for (int nodes = 1; nodes <= BATCH_LAUNCHES; nodes += BATCH_LAUNCHES - 1) {
        CUgraph graph;
        CUgraphExec executable;
        OK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        for (int i = 0; i < nodes; i++)
            LAUNCH();
        OK(cuStreamEndCapture(stream, &graph));
        OK(cuGraphInstantiate(&executable, graph, 0));
        for (int i = 0; i < 50 + (nodes == 1 ? LATENCY_LAUNCHES : BATCH_ROUNDS); i++) {
            double start = now_s();
            OK(cuGraphLaunch(executable, stream));
            OK(cuStreamSynchronize(stream));
            if (i >= 50)
                sample(1e6 * (now_s() - start));
        }
        report(nodes == 1 ? "graph of one empty kernel" : "batch of 100 empty kernels", "us");
    }
}

static void copies(void)
{
    char *host, *a, *b;
    cudaStream_t stream;
    OK(cudaMallocHost(&host, MEMORY_BYTES));
    OK(cudaMalloc(&a, MEMORY_BYTES));
    OK(cudaMalloc(&b, MEMORY_BYTES));
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (unsigned long long i = 0; i < MEMORY_BYTES; i += 4096)
        *(unsigned long long *)(host + i) = i * 0x9e3779b97f4a7c15ull;
    char name[64];
    for (size_t s = 0; s < sizeof(copy_sizes) / sizeof(copy_sizes[0]); s++) {
        for (int direction = 0; direction < 2; direction++) {
            for (int round = -2; round < copy_rounds(copy_sizes[s]); round++) {
                double start = now_s();
                OK(cudaMemcpyAsync(direction ? host : a, direction ? a : host, copy_sizes[s], cudaMemcpyDefault,
                                   stream));
                OK(cudaStreamSynchronize(stream));
                if (round >= 0)
                    sample((double)copy_sizes[s] / (now_s() - start) / 1e9);
            }
            snprintf(name, sizeof(name), "%s, %s", direction ? "device to host" : "host to device", copy_names[s]);
            report(name, "GB/s");
        }
    }
    for (int round = -2; round < 30; round++) {
        double start = now_s();
        OK(cudaMemcpyAsync(b, a, 1ull << 30, cudaMemcpyDeviceToDevice, stream));
        OK(cudaStreamSynchronize(stream));
        if (round >= 0)
            sample(2.0 * (1ull << 30) / (now_s() - start) / 1e9);
    }
    report("device copy 1 GiB, read + written", "GB/s");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--first") == 0) {
        first_result();
        return 0;
    }
    OK(cudaSetDeviceFlags(cudaDeviceScheduleSpin));
    OK(cudaFree(NULL));
    launches();
    copies();
    return 0;
}
