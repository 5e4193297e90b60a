using System.Runtime.InteropServices;
using System.Text;

namespace AttnCompose.Cuda.Interop;

/// <summary>An array of C strings.</summary>
internal sealed unsafe class NativeStrings : IDisposable
{
    private readonly int _count;

    public NativeStrings(IEnumerable<string> texts)
    {
        string[] all = [.. texts];
        Pointers = (byte**)NativeMemory.AllocZeroed((nuint)all.Length + 1, (nuint)sizeof(byte*));
        foreach (string text in all)
        {
            int bytes = Encoding.UTF8.GetByteCount(text);
            var copy = (byte*)NativeMemory.Alloc((nuint)bytes + 1);
            Encoding.UTF8.GetBytes(text, new Span<byte>(copy, bytes));
            copy[bytes] = 0;
            Pointers[_count++] = copy;
        }
    }

    public byte** Pointers { get; private set; }

    public void Dispose()
    {
        if (Pointers == null)
            return;
        for (int i = 0; i < _count; i++)
            NativeMemory.Free(Pointers[i]);
        NativeMemory.Free(Pointers);
        Pointers = null;
    }
}
