using AttnCompose.Models;

namespace AttnCompose.Cli.Tests;

/// <summary>Small inputs for <c>run</c>.</summary>
internal static class Inputs
{
    /// <summary>A file with random q, k and v of given shapes.</summary>
    public static string Write<T>(
        TempFolder folder, long[] q, long[] k, long[] v, Func<float, T> convert, string name = "in.safetensors")
        where T : unmanaged
    {
        var random = new Random(20260203);
        var writer = new SafeTensorsWriter();
        Add("q", q);
        Add("k", k);
        Add("v", v);
        string path = folder.PathOf(name);
        writer.Save(path);
        return path;

        void Add(string tensor, long[] shape)
        {
            var data = new T[shape.Aggregate(1L, (product, size) => product * size)];
            for (int i = 0; i < data.Length; i++)
                data[i] = convert(random.NextSingle() * 2 - 1);
            writer.Add<T>(tensor, shape, data);
        }
    }

    public static string WriteFloat(TempFolder folder, string name = "in.safetensors") =>
        Write(folder, [1, 2, 5, 16], [1, 1, 5, 16], [1, 1, 5, 16], value => value, name);
}
