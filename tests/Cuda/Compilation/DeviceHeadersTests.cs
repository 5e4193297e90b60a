namespace AttnCompose.Cuda.Tests.Compilation;

public sealed class DeviceHeadersTests
{
    private const string Folder = "attncompose/stages/AttnCompose.Cuda.Tests/";

    [Fact]
    public void The_closure_is_collected_in_order_of_name()
    {
        Assert.Equal([Folder + "inner.cuh", Folder + "outer.cuh"], DeviceHeaders.Collect(Sources.Scale).Select(h => h.Name));
    }

    [Theory]
    [InlineData("#include <attncompose/stages/AttnCompose.Cuda.Tests/inner.cuh>")]
    [InlineData("  #  include <attncompose/stages/AttnCompose.Cuda.Tests/inner.cuh> // why")]
    [InlineData("#include \"attncompose/stages/AttnCompose.Cuda.Tests/inner.cuh\"")]
    [InlineData("int x;\r\n#include <attncompose/stages/AttnCompose.Cuda.Tests/inner.cuh>\r\n")]
    public void An_include_is_seen_however_it_is_written(string text) =>
        Assert.Equal(Folder + "inner.cuh", Assert.Single(DeviceHeaders.Collect(Sources.Source(text))).Name);

    [Theory]
    [InlineData("// #include <attncompose/none.cuh>")]
    [InlineData("#include <cuda_fp16.h>")]
    [InlineData("const char* s = \"attncompose/none.cuh\";")]
    public void What_is_no_include_of_ours_is_left_alone(string text) => Assert.Empty(DeviceHeaders.Collect(Sources.Source(text)));

    [Fact]
    public void A_missing_header_of_the_text_names_text_header_and_assemblies()
    {
        var e = Assert.Throws<KernelCompilationException>(
            () => DeviceHeaders.Collect(Sources.Source("#include <attncompose/none.cuh>", "my_pipeline")));
        Assert.Contains("my_pipeline includes <attncompose/none.cuh>", e.Message, StringComparison.Ordinal);
        Assert.Contains("AttnCompose.Cuda, AttnCompose.Cuda.Tests", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_header_of_a_header_names_that_header()
    {
        var e = Assert.Throws<KernelCompilationException>(
            () => DeviceHeaders.Collect(Sources.Source($"#include <{Folder}dangling.cuh>")));
        Assert.Contains($"{Folder}dangling.cuh includes <{Folder}no_such_header.cuh>", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Shared_headers_need_no_assembly_to_be_named()
    {
        // Whatever shared headers there are, each can be included from a text that names no assembly.
        string[] shared = [.. typeof(CudaDevice).Assembly.GetManifestResourceNames().Where(n => n.EndsWith(".cuh", StringComparison.Ordinal))];
        foreach (string name in shared)
            Assert.Contains(DeviceHeaders.Collect(new KernelSource("t", $"#include <{name}>", [])), h => h.Name == name);
    }
}
