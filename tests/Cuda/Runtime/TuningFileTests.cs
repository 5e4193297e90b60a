namespace AttnCompose.Cuda.Tests.Runtime;

/// <summary>What `attncompose tune` stores: only what verifies, of this device, from a private folder, is used.</summary>
public sealed class TuningFileTests : IDisposable
{
    private static readonly TuningClass s_class = new(128, ElementType.BFloat16, AttentionMask.Causal, IsLong: true);
    private static readonly TuningClass s_other = new(64, ElementType.Float16, AttentionMask.Full, IsLong: false);
    private static readonly CudaTuning s_tuning = new() { GatherLength = 4096, GraphKernels = 2, TeamBlocks = 4, MaxWorkspace = 1 << 20, AttentionTile = new(128, 176, 2) };

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("attncompose-test-");
    private readonly CudaDevice _device = new(new FakeDriver(), 0);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Delete(recursive: true);
    }

    private KernelCache Cache(bool used = true) => new(
        new CudaSettings { UseCache = used, CacheDirectory = used ? _folder.FullName : null },
        _ => throw new InvalidOperationException("nothing is compiled here"), () => "fake");

    private string Write(params (TuningClass, CudaTuning)[] tunings) => TuningFile.Write(_device, Cache(), tunings);

    [Fact]
    public void What_is_written_is_read_and_used_for_its_class_alone()
    {
        Assert.Empty(TuningFile.Read(_device, Cache()));
        Write((s_class, s_tuning));
        _device.StoredTunings = [.. TuningFile.Read(_device, Cache())];
        const AttentionMask Causal = AttentionMask.Causal;
        Assert.Equal(s_tuning, _device.TuningFor(128, ElementType.BFloat16, Causal, TuningClass.LongFrom));
        Assert.Equal(CudaTuning.Default, _device.TuningFor(128, ElementType.BFloat16, Causal, TuningClass.LongFrom - 1));
        Assert.Equal(CudaTuning.Default, _device.TuningFor(128, ElementType.BFloat16, AttentionMask.Full, TuningClass.LongFrom));
        Assert.Equal(CudaTuning.Default, _device.TuningFor(128, ElementType.Float16, Causal, TuningClass.LongFrom));
        Assert.Equal(CudaTuning.Default, _device.TuningFor(64, ElementType.BFloat16, Causal, TuningClass.LongFrom));
        Assert.Equal(CudaTuning.Default, _device.Tuning);
        var own = new CudaTuning { GatherLength = 7 };
        _device.Tuning = own;
        Assert.Same(own, _device.TuningFor(128, ElementType.BFloat16, Causal, TuningClass.LongFrom));
    }

    [Fact]
    public void A_shape_that_the_head_dim_does_not_have_is_as_if_it_were_not_there()
    {
        Write((s_class, s_tuning with { AttentionTile = new(128, 144, 2) }), (s_other, s_tuning)); // 128x176x2 is one of head dim 64 too
        Assert.Equal(
            [(s_class, s_tuning with { AttentionTile = null }), (s_other, s_tuning)], TuningFile.Read(_device, Cache()));
    }

    [Fact]
    public void Classes_that_are_not_tuned_again_stay()
    {
        Write((s_class, s_tuning), (s_other, CudaTuning.Default));
        CudaTuning later = s_tuning with { GatherLength = int.MaxValue };
        string path = Write((s_class, later));
        Assert.Equal([(s_other, CudaTuning.Default), (s_class, later)], TuningFile.Read(_device, Cache()));
        Assert.Equal([path], Directory.GetFiles(_folder.FullName));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
    }

    [Fact]
    public void A_file_with_any_byte_changed_is_as_if_it_were_not_there()
    {
        string path = Write((s_class, s_tuning));
        byte[] whole = File.ReadAllBytes(path);
        for (int i = 0; i < whole.Length; i++)
        {
            byte[] changed = [.. whole];
            changed[i] ^= 1;
            File.WriteAllBytes(path, changed);
            Assert.Empty(TuningFile.Read(_device, Cache()));
            File.WriteAllBytes(path, whole[..i]);
            Assert.Empty(TuningFile.Read(_device, Cache()));
        }
        File.WriteAllBytes(path, whole);
        Assert.Single(TuningFile.Read(_device, Cache()));
    }

    [Theory]
    [InlineData("7 BFloat16 causal long 4096 1 3 8 default")]
    [InlineData("128 BFloat99 causal long 4096 1 3 8 default")]
    [InlineData("128 BFloat16 Causal long 4096 1 3 8 default")]
    [InlineData("128 BFloat16 causal wide 4096 1 3 8 default")]
    [InlineData("128 BFloat16 causal long -1 1 3 8 default")]
    [InlineData("128 BFloat16 causal long 4096 1 0 8 default")]
    [InlineData("128 BFloat16 causal long 4096 1 3 9 default")]
    [InlineData("128 BFloat16 causal long 4096 1 3 8")]
    [InlineData("128 BFloat16 causal long 4096 1 3 8 none")]
    [InlineData("128 BFloat16 causal long 4096 1 3 8 128x-176x2")]
    [InlineData("128 BFloat16 causal long 4096 1 3 8 default 1")]
    public void A_text_that_verifies_but_makes_no_sense_is_refused(string line)
    {
        string device = TuningFile.DeviceKey(_device);
        string good = TuningFile.Text(device, [(s_class, s_tuning)]);
        Assert.Single(TuningFile.Parse(good, device)!);
        string whole = good[(good.IndexOf('\n') + 1)..];
        string body = whole.Replace("128 BFloat16 causal long 4096 1048576 2 4 128x176x2", line, StringComparison.Ordinal);
        Assert.NotEqual(whole, body);
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(body)));
        Assert.Null(TuningFile.Parse($"{hash}\n{body}", device));
    }

    [Fact]
    public void Another_device_or_driver_has_a_file_of_its_own()
    {
        string path = Write((s_class, s_tuning));
        using var newer = new CudaDevice(new FakeDriver { Version = 13_010 }, 0);
        Assert.NotEqual(path, TuningFile.PathFor(newer, Cache()));
        Assert.Empty(TuningFile.Read(newer, Cache()));
        File.Copy(path, TuningFile.PathFor(newer, Cache())!);
        Assert.Empty(TuningFile.Read(newer, Cache())); // the text says which device it is of
    }

    [Fact]
    public void Without_a_cache_folder_nothing_is_read_and_writing_says_why()
    {
        Assert.Empty(TuningFile.Read(_device, Cache(used: false)));
        var e = Assert.Throws<IOException>(() => TuningFile.Write(_device, Cache(used: false), [(s_class, s_tuning)]));
        Assert.Contains("turned off", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_link_is_not_followed()
    {
        if (OperatingSystem.IsWindows())
            return;
        string path = Write((s_class, s_tuning));
        File.Move(path, path + ".moved");
        File.CreateSymbolicLink(path, path + ".moved");
        Assert.Empty(TuningFile.Read(_device, Cache()));
    }
}
