namespace AttnCompose.Cuda.Tests.Interop;

public sealed class CudaSettingsTests
{
    private static CudaSettings Read(params (string Name, string Value)[] variables) =>
        CudaSettings.Read(name => variables.FirstOrDefault(v => v.Name == name).Value);

    [Fact]
    public void Nothing_set_is_the_default()
    {
        CudaSettings settings = Read();
        Assert.True(settings.UseCache);
        Assert.Null(settings.CacheDirectory);
        Assert.Null(settings.CacheHome);
        Assert.Null(settings.Nvrtc);
        Assert.False(settings.RequireCache || settings.SynchronizeLaunches || settings.DelayBarriers);
        Assert.Empty(settings.ToolkitRoots);
    }

    [Theory]
    [InlineData("off")]
    [InlineData("OFF")]
    [InlineData("0")]
    public void The_cache_can_be_turned_off(string value)
    {
        CudaSettings settings = Read(("ATTNCOMPOSE_CACHE", value));
        Assert.False(settings.UseCache);
        Assert.Null(settings.CacheDirectory);
    }

    [Fact]
    public void A_named_folder_is_the_cache() => Assert.Equal("/x/y", Read(("ATTNCOMPOSE_CACHE", "/x/y")).CacheDirectory);

    [UnixFact]
    public void The_cache_is_below_the_home_unless_xdg_says_otherwise()
    {
        Assert.Equal("/home/u/.cache", Read(("HOME", "/home/u")).CacheHome);
        Assert.Equal("/xdg", Read(("HOME", "/home/u"), ("XDG_CACHE_HOME", "/xdg")).CacheHome);
        Assert.Equal("/home/u/.cache", Read(("HOME", "/home/u"), ("XDG_CACHE_HOME", "relative")).CacheHome);
    }

    [Fact]
    public void Flags_and_roots_are_read()
    {
        CudaSettings settings = Read(
            ("ATTNCOMPOSE_REQUIRE_CACHE", "1"), ("ATTNCOMPOSE_SYNC", "0"), ("ATTNCOMPOSE_DELAYS", "1"),
            ("CUDA_PATH", "/c"), ("CUDA_HOME", "/c"), ("CONDA_PREFIX", "/conda"));
        Assert.True(settings.RequireCache);
        Assert.False(settings.SynchronizeLaunches);
        Assert.True(settings.DelayBarriers);
        Assert.Equal(["/c"], settings.ToolkitRoots);
        Assert.Equal(["/conda"], settings.PythonRoots);
    }
}
