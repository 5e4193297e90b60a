using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace AttnCompose.Cuda.Tests.Runtime;

public sealed class KernelArgumentsTests
{
    [StructLayout(LayoutKind.Sequential)]
    private struct Mixed
    {
        public byte A;
        public double B;
        public short C;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Ints
    {
        public int A;
        public int B;
        public int C;
    }

    [InlineArray(128)]
    private struct TensorMap
    {
        private byte _first;
    }

    [Fact]
    public void Each_argument_lies_at_its_natural_alignment()
    {
        using var arguments = new KernelArguments();
        arguments.Add((byte)1);
        arguments.Add((short)2);
        arguments.Add((byte)3);
        arguments.Add(4);
        arguments.Add((byte)5);
        arguments.Add(6L);
        arguments.Add(true);
        arguments.Add(7.0f);
        arguments.Add(true);
        arguments.Add(8.0);
        arguments.Add((nint)9);
        arguments.Add(new Mixed());
        arguments.Add((byte)10);
        arguments.Add(new Ints());
        arguments.Add(new DeviceProblem());
        arguments.Add((BFloat16)1.0f);
        arguments.Add((Half)1.0f);
        Assert.Equal(
            [
                (0, 1), (2, 2), (4, 1), (8, 4), (12, 1), (16, 8), (24, 1), (28, 4), (32, 1), (40, 8), (48, 8), (56, 24),
                (80, 1), (84, 12), (96, 208), (304, 2), (306, 2),
            ],
            arguments.Places.ToArray());
        Assert.Equal(308, arguments.Bytes);
    }

    [Fact]
    public void The_bytes_are_the_values_and_gaps_are_zero()
    {
        using var arguments = new KernelArguments();
        arguments.Add(-1L);
        arguments.Add(-1L);
        arguments.Clear();
        arguments.Add((byte)0xAB);
        arguments.Add(0x1122334455667788);
        Assert.Equal([0xAB, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11], arguments.Content.ToArray());
        Assert.Equal(2, arguments.Count);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(64)]
    public unsafe void More_alignment_can_be_asked_for(int alignment)
    {
        using var arguments = new KernelArguments();
        arguments.Add(1);
        arguments.Add(new TensorMap(), alignment);
        Assert.Equal((alignment, 128), arguments.Places[1]);
        Assert.Equal(0, (nint)arguments.Pointer % 64);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(128)]
    [InlineData(-8)]
    public void An_alignment_that_is_none_is_refused(int alignment)
    {
        using var arguments = new KernelArguments();
        Assert.Throws<ArgumentOutOfRangeException>(() => arguments.Add(1, alignment));
    }

    [Fact]
    public void Too_much_is_refused()
    {
        using var arguments = new KernelArguments();
        for (int i = 0; i < KernelArguments.Capacity / 128; i++)
            arguments.Add(new TensorMap());
        Assert.Throws<ArgumentException>(() => arguments.Add((byte)1));
        arguments.Clear();
        for (int i = 0; i < 64; i++)
            arguments.Add((byte)1);
        Assert.Throws<ArgumentException>(() => arguments.Add((byte)1));
    }
}
