using System.Buffers.Binary;
using System.Text;

namespace AttnCompose.Models.Tests;

public sealed class SafeTensorsFileTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void WhatTheWriterWritesTheReaderReads()
    {
        var random = new Random(5);
        float[] singles = [.. Enumerable.Range(0, 300_001).Select(_ => (float)random.NextDouble() - 0.5f)];
        singles[0] = float.NaN;
        Half[] halves = [(Half)1.5f, Half.NegativeInfinity, Half.Epsilon];
        BFloat16[] brains = [(BFloat16)1.5f, BFloat16.MaxValue, -BFloat16.Epsilon];
        int[] ints = [int.MinValue, 0, int.MaxValue];
        long[] longs = [long.MinValue, long.MaxValue];
        var writer = new SafeTensorsWriter { Metadata = { ["layer"] = "4", ["text"] = "a \"b\" \n é" } };
        writer.Add<Half>("halves", [3, 1], halves);
        writer.Add<float>("singles", [1, singles.Length], singles);
        writer.Add<BFloat16>("brains", [3], brains);
        writer.Add<int>("ints", [3], ints);
        writer.Add<long>("longs", [2], longs);
        writer.Add<float>("empty", [4, 0, 2], default);
        writer.Add<float>("scalar", [], new[] { 2.5f });
        string path = _directory["all.safetensors"];
        writer.Save(path);
        writer.Save(path); // replaces the first

        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        Assert.Equal(singles, file.Span<float>("singles").ToArray());
        Assert.Equal(halves, file.Span<Half>("halves").ToArray());
        Assert.Equal(brains, file.Span<BFloat16>("brains").ToArray());
        Assert.Equal(ints, file.Span<int>("ints").ToArray());
        Assert.Equal(longs, file.Span<long>("longs").ToArray());
        Assert.Equal([2.5f], file.Span<float>("scalar").ToArray());
        Assert.True(file.Span<float>("empty").IsEmpty);
        Assert.Equal([4, 0, 2], file.Header["empty"].Shape);
        Assert.Equal("a \"b\" \n é", file.Header.Metadata["text"]);
        Assert.All(file.Header.Tensors, tensor => Assert.Equal(0, tensor.Offset % SafeTensorTypes.Size(tensor.Type)));
        Assert.Equal([path], _directory.Entries);

        var asFloat = new float[2];
        file.CopyAsFloat("brains", 1, asFloat);
        Assert.Equal([(float)BFloat16.MaxValue, (float)-BFloat16.Epsilon], asFloat);
        file.CopyAsFloat("halves", 0, asFloat);
        Assert.Equal([1.5f, float.NegativeInfinity], asFloat);
    }

    [Fact]
    public void AskingForTheWrongThingSaysWhatThereIs()
    {
        var writer = new SafeTensorsWriter();
        writer.Add<int>("ids", [3], new[] { 1, 2, 3 });
        string path = _directory["ids.safetensors"];
        writer.Save(path);
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        Assert.Contains("I32 [3]", Error(() => file.Span<float>("ids")));
        Assert.Contains("no tensor 'id'", Error(() => file.Span<int>("id")));
        Assert.Contains("[1, 4)", Error(() => file.Span<int>("ids", 1, 3)));
        Assert.Contains("F32, F16 or BF16", Error(() => file.CopyAsFloat("ids", 0, new float[1])));
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => file.Span<int>("ids").Length);

        static string Error(Action action) => Assert.Throws<SafeTensorsException>(action).Message;
    }

    [Fact]
    public void FilesThatCannotBeOpenedAreTypedErrorsToo()
    {
        File.WriteAllBytes(_directory["empty"], []);
        File.WriteAllBytes(_directory["short"], [1, 0, 0]);
        Assert.Contains("no such file", Error("missing"));
        Assert.Contains("0 bytes", Error("empty"));
        Error("short");
        Error(""); // the directory

        string Error(string name) => Assert.Throws<SafeTensorsException>(() => SafeTensorsFile.Open(_directory[name])).Message;
    }

    [Fact]
    public void AFailedWriteLeavesNothingBehindAndAnEarlierFileAsItWas()
    {
        var writer = new SafeTensorsWriter();
        writer.Add<float>("a", [2], new float[2]);
        Directory.CreateDirectory(_directory["taken"]);
        Assert.Throws<SafeTensorsException>(() => writer.Save(_directory["taken"]));
        Assert.Throws<SafeTensorsException>(() => writer.Save(Path.Combine(_directory["nowhere"], "a")));
        Assert.Equal([_directory["taken"]], _directory.Entries);

        string path = _directory["kept"];
        writer.Save(path);
        byte[] before = File.ReadAllBytes(path);
        writer.Add<float>("late", [1], new Memory<float>(new float[1]));
        Assert.Throws<DivideByZeroException>(() => AtomicFile.Write(path, stream =>
        {
            stream.Write(new byte[100]);
            throw new DivideByZeroException();
        }, (message, cause) => new SafeTensorsException(message, cause)));
        Assert.Equal(before, File.ReadAllBytes(path));
        Assert.Equal(2, _directory.Entries.Length);
    }

    [Fact]
    public void TheWriterRefusesWhatDoesNotFit()
    {
        var writer = new SafeTensorsWriter();
        writer.Add<float>("a", [2], new float[2]);
        Assert.Throws<ArgumentException>(() => writer.Add<float>("a", [2], new float[2]));
        Assert.Throws<ArgumentException>(() => writer.Add<float>("__metadata__", [2], new float[2]));
        Assert.Throws<ArgumentException>(() => writer.Add<float>("b", [3], new float[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.Add<float>("b", [-1, -2], new float[2]));
        Assert.Throws<ArgumentException>(() => writer.Add<float>("b", new long[17], default));
        Assert.Throws<NotSupportedException>(() => writer.Add<double>("b", [2], new double[2]));
    }

    [Fact]
    public void ATensorBeyondTwoGigabytesIsAddressedByParts()
    {
        const long Rows = (1L << 29) + 3; // 2^31 + 12 bytes of float32
        const string Name = "large.safetensors";
        string header = $"{{\"large\":{{\"dtype\":\"F32\",\"shape\":[{Rows},1],\"data_offsets\":[0,{Rows * 4}]}},"
            + $"\"after\":{{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[{Rows * 4},{Rows * 4 + 4}]}}}}";
        using (var stream = new FileStream(_directory[Name], FileMode.CreateNew))
        {
            var length = new byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(Encoding.ASCII.GetBytes(header));
            stream.SetLength(8 + header.Length + Rows * 4 + 4); // a hole: takes no room where the file system knows holes
            stream.Seek(-8, SeekOrigin.End);
            stream.Write(BitConverter.GetBytes(1.5f));
            stream.Write(BitConverter.GetBytes(7));
        }
        using SafeTensorsFile file = SafeTensorsFile.Open(_directory[Name]);
        Assert.Equal(1.5f, file.Span<float>("large", Rows - 1, 1)[0]);
        Assert.Equal(Rows, file.Span<float>("large").Length);
        Assert.Equal(1.5f, file.Span<float>("large")[^1]);
        Assert.Equal(7, file.Span<int>("after")[0]);
        Assert.Throws<SafeTensorsException>(() => file.Span<float>("large", Rows, 1));
    }
}
