using System.Buffers.Binary;

namespace AttnCompose.Cuda.Tests.Compilation;

public sealed class KernelCompilerTests
{
    [NvrtcFact]
    public void The_compiler_tells_its_version_and_what_it_compiles_for()
    {
        Assert.True(KernelCompiler.Version >= new Version(12, 4));
        Assert.Contains(80, KernelCompiler.SupportedArchitectures);
        Assert.Contains(90, KernelCompiler.SupportedArchitectures);
    }

    [NvrtcTheory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void A_kernel_with_headers_from_memory_compiles_to_device_code(string architecture)
    {
        CompiledKernel kernel = KernelCompiler.Compile(Sources.Scale, new() { Architecture = architecture, Verbose = true });

        ReadOnlySpan<byte> elf = kernel.Cubin.Span;
        Assert.True(elf.StartsWith("\u007FELF"u8));
        Assert.Equal(190, BinaryPrimitives.ReadUInt16LittleEndian(elf[18..])); // EM_CUDA
        Assert.True(elf.IndexOf("scale_shape\0"u8) > 0);
        EntryReport entry = Assert.Single(kernel.Entries);
        Assert.Equal("scale", entry.Name);
        Assert.InRange(entry.Registers, 4, 32);
        Assert.Equal((0, 0, 0), (entry.StackBytes, entry.SpillStoreBytes, entry.SpillLoadBytes));
        Assert.Empty(kernel.Warnings);
    }

    [NvrtcFact]
    public void Without_verbose_there_is_no_report()
    {
        CompiledKernel kernel = KernelCompiler.Compile(Sources.Scale, Sources.Sm80);
        Assert.Empty(kernel.Entries);
        Assert.Equal("", kernel.Log);
    }

    [NvrtcFact]
    public void Defines_reach_the_text()
    {
        const string Text = """
            namespace attn { struct bf16 { unsigned short bits; }; }
            static_assert(ATTNCOMPOSE_HEAD_DIM == 96);
            static_assert(sizeof(ATTNCOMPOSE_ELEMENT) == 2);
            static_assert(sizeof(ATTNCOMPOSE_OUTPUT) == 4);
            extern "C" __global__ void k() {}
            """;
        var options = Sources.Sm80 with { HeadDim = 96, Element = ElementType.BFloat16, Output = ElementType.Float32 };
        Assert.NotEqual(0, KernelCompiler.Compile(Sources.Source(Text), options).Cubin.Length);
    }

    [NvrtcFact]
    public void An_error_names_source_options_and_line()
    {
        var e = Assert.Throws<KernelCompilationException>(
            () => KernelCompiler.Compile(Sources.Source("extern \"C\" __global__ void k() {\n    undeclared = 1;\n}\n", "broken"), Sources.Sm80));
        Assert.Equal("broken", e.SourceName);
        Assert.Contains("broken.cu(2): error", e.Log, StringComparison.Ordinal);
        Assert.Contains("undeclared", e.Message, StringComparison.Ordinal);
        Assert.Contains("--gpu-architecture=sm_80", e.Message, StringComparison.Ordinal);
    }

    [NvrtcFact]
    public void A_failed_compilation_does_not_disturb_the_next()
    {
        Assert.Throws<KernelCompilationException>(() => KernelCompiler.Compile(Sources.Source("nonsense"), Sources.Sm80));
        Assert.NotEqual(0, KernelCompiler.Compile(Sources.Scale, Sources.Sm80).Cubin.Length);
    }

    [NvrtcTheory]
    [InlineData("sm_10")]
    [InlineData("sm_9999")]
    [InlineData("nonsense")]
    public void An_architecture_that_the_compiler_does_not_know_is_named_with_those_it_knows(string architecture)
    {
        var e = Assert.Throws<NvrtcException>(() => KernelCompiler.Compile(Sources.Scale, new() { Architecture = architecture }));
        Assert.Contains(architecture, e.Message, StringComparison.Ordinal);
        Assert.Contains("sm_90", e.Message, StringComparison.Ordinal);
    }

    [NvrtcFact]
    public void Spills_are_seen()
    {
        // 64 values live at once in a kernel that may use 32 registers, because 2048 threads share a multiprocessor.
        const string Text = """
            extern "C" __global__ void __launch_bounds__(128, 16) k(float* data) {
                float v[64];
                #pragma unroll
                for (int i = 0; i < 64; i++) v[i] = data[i * 128 + threadIdx.x];
                __syncthreads();
                #pragma unroll
                for (int i = 0; i < 64; i++) data[(63 - i) * 128 + threadIdx.x] = v[i] * v[(i + 17) % 64];
            }
            """;
        CompiledKernel kernel = KernelCompiler.Compile(Sources.Source(Text), Sources.Sm80 with { Verbose = true });
        EntryReport entry = Assert.Single(kernel.Entries);
        Assert.True(entry.SpillStoreBytes > 0, kernel.Log);
        Assert.True(entry.SpillLoadBytes > 0, kernel.Log);
        Assert.True(entry.StackBytes > 0, kernel.Log);
    }

    [NvrtcFact]
    public void An_ignored_setmaxnreg_is_a_warning()
    {
        // Without a bound on the number of threads the assembler cannot honour it.
        const string Text = """
            extern "C" __global__ void k(float* data) {
                asm volatile("setmaxnreg.dec.sync.aligned.u32 24;\n");
                data[threadIdx.x] = 1.0f;
            }
            """;
        CompiledKernel kernel = KernelCompiler.Compile(Sources.Source(Text), Sources.Sm90 with { Verbose = true });
        Assert.Contains(kernel.Warnings, warning => warning.Contains("setmaxnreg", StringComparison.Ordinal));
    }

    [NvrtcFact]
    public async Task Thirty_two_compilations_at_once_all_succeed()
    {
        byte[][] cubins = await Task.WhenAll(Enumerable.Range(0, 32).Select(i => Task.Run(
            () => KernelCompiler.Compile(Sources.Source($"extern \"C\" __global__ void k{i % 4}(int* p) {{ *p = {i % 4}; }}"), Sources.Sm80)
                .Cubin.ToArray())));
        for (int i = 0; i < cubins.Length; i++)
            Assert.Equal(cubins[i % 4], cubins[i]);
    }
}
