using System.Buffers.Binary;
using System.Text;

namespace AttnCompose.Models.Tests;

public sealed class SafeTensorsHeaderTests
{
    private const string Good = """{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}""";

    public static TheoryData<string, int, string> Hostile => new()
    {
        { """[]""", 0, "'{'" },
        { """{} {}""", 0, "not valid JSON" },
        { """{"a":1}""", 0, "an object after 'a'" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]""", 8, "not valid JSON" },
        { """{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", 8, "unknown dtype 'F31'" },
        { """{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}""", 8, "unknown dtype" },
        { """{"a":{"dtype":3,"shape":[2],"data_offsets":[0,8]}}""", 8, "a string for the dtype" },
        { """{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8, "lacks one of" },
        { """{"a":{"dtype":"F32","shape":[2]}}""", 8, "lacks one of" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}""", 8, "unknown field 'x'" },
        { """{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "'dtype' of tensor 'a' occurs twice" },
        { """{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}""", 8, "'shape' of tensor 'a' occurs twice" },
        {
            """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}""",
            8, "'a' occurs twice"
        },
        {
            """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"\u0061":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}""",
            8, "'a' occurs twice"
        },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "data_offsets [8, 0]" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "not an integer" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}}""", 8, "not an integer" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "must have 2" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", 8, "more than 2" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,12]}}""", 8, "8 bytes of data" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775807]}}""", 8, "8 bytes of data" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551624]}}""", 8, "not an integer" },
        { """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "more elements than" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}""", 8, "takes 4 bytes" },
        { """{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "more elements than" },
        { """{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "more elements than" },
        { """{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}""", 0, "not an integer" },
        { """{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}""", 4, "more than 16" },
        {
            """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""",
            12, "overlap"
        },
        {
            """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""",
            8, "overlap"
        },
        {
            """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}""",
            20, "gap"
        },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "gap" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "1 bytes follow" },
        { """{}""", 1, "1 bytes follow" },
        { """{"__metadata__":{"a":1}}""", 0, "a string for metadata 'a'" },
        { """{"__metadata__":{"a":"x","a":"y"}}""", 0, "metadata 'a' occurs twice" },
        { """{"__metadata__":{},"__metadata__":{}}""", 0, "'__metadata__' occurs twice" },
        { """{"__metadata__":null}""", 0, "an object after '__metadata__'" },
        { """{"\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}""", 0, "not valid JSON" },
        { """{"a":[[[[[[]]]]]]}""", 0, "an object after 'a'" },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void HostileHeadersAreRefusedAndTheMessageSaysWhy(string header, int dataBytes, string says)
    {
        var exception = Assert.Throws<SafeTensorsException>(() => SafeTensorsHeader.Parse(HeaderBytes.File(header, dataBytes)));
        Assert.Contains(says, exception.Message);
    }

    [Fact]
    public void InvalidUtf8InANameIsRefused()
    {
        byte[] header = Encoding.UTF8.GetBytes("""{"?":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}""");
        header[2] = 0xFF;
        Assert.Throws<SafeTensorsException>(() => SafeTensorsHeader.Parse(HeaderBytes.File(header, 0)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(9)]
    [InlineData(40)]
    [InlineData(88)]
    public void EveryTruncationIsRefused(int length)
    {
        byte[] file = HeaderBytes.File(Good, 24);
        Assert.Single(SafeTensorsHeader.Parse(file).Tensors);
        Assert.True(length < file.Length);
        Assert.Throws<SafeTensorsException>(() => SafeTensorsHeader.Parse(file.AsSpan(0, length)));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(1UL)]
    [InlineData(100_000_001UL)]
    [InlineData(ulong.MaxValue)]
    [InlineData(1UL << 63)]
    public void AHeaderLengthThatCannotBeTrueAllocatesNothingOfItsSize(ulong length)
    {
        byte[] file = HeaderBytes.File(Good, 24);
        BinaryPrimitives.WriteUInt64LittleEndian(file, length);
        Assert.Throws<SafeTensorsException>(() => SafeTensorsHeader.Parse(file, long.MaxValue));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<SafeTensorsException>(() => SafeTensorsHeader.Parse(file, long.MaxValue));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 10);
    }

    [Fact]
    public void TooManyTensorsAreRefused()
    {
        var header = new StringBuilder("{");
        for (int i = 0; i <= SafeTensorsHeader.MaxEntries; i++)
            header.Append(i == 0 ? "" : ",").Append($"\"{i}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
        byte[] file = HeaderBytes.File(header.Append('}').ToString(), 0);
        var exception = Assert.Throws<SafeTensorsException>(() => SafeTensorsHeader.Parse(file));
        Assert.Contains("more than", exception.Message);
    }

    [Fact]
    public void ValidHeadersInAnyOrderGiveTensorsInTheOrderOfTheirBytes()
    {
        for (int seed = 0; seed < 500; seed++)
        {
            (string text, int bytes) = HeaderBytes.Valid(new Random(seed));
            SafeTensorsHeader header = SafeTensorsHeader.Parse(HeaderBytes.File(text, bytes));
            Assert.Equal(header.Tensors.OrderBy(tensor => tensor.Offset), header.Tensors);
            Assert.Equal(bytes, header.Tensors.Sum(tensor => tensor.ByteCount));
        }
    }

    [Fact]
    public void MetadataAndAScalarAreRead()
    {
        const string Text =
            """{"__metadata__":{"format":"pt","\u00e9":"x\ny"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}   """;
        SafeTensorsHeader header = SafeTensorsHeader.Parse(HeaderBytes.File(Text, 8));
        Assert.Equal("pt", header.Metadata["format"]);
        Assert.Equal("x\ny", header.Metadata["é"]);
        Assert.Empty(header["s"].Shape);
        Assert.Equal(1, header["s"].ElementCount);
        Assert.Contains("'nothing'", Assert.Throws<SafeTensorsException>(() => header["nothing"]).Message);
    }
}
