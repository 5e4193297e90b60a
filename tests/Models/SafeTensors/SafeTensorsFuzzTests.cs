using System.Text;

namespace AttnCompose.Models.Tests;

public sealed class SafeTensorsFuzzTests
{
    private const int Seed = 20260322;

    private static readonly string[] Fragments =
    [
        "-1", "0", "1", "1e3", "1.5", "9223372036854775807", "9223372036854775808", "18446744073709551616", "4294967296",
        "null", "true", "\"\"", "\"\\ud800\"", "\"\\u0000\"", "[", "]", "[[[[[[", "{", "}", "{}", ",", ":", "\"shape\":[2]",
        "\"dtype\":\"F32\"", "\"data_offsets\":[0,4]", "\"__metadata__\":{}",
        "\"t0\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
        "\"F8\"", "//", "\0", "\ufeff", "\"\u202e\"",
    ];

    [Fact]
    public void TwoHundredThousandMutatedFilesEitherParseSoundlyOrFailWithTheTypedError()
    {
        int parsed = 0;
        for (int index = 0; index < 200_000; index++)
        {
            byte[] file = Mutated(index);
            try
            {
                SafeTensorsHeader header = SafeTensorsHeader.Parse(file);
                AssertSound(header, file.Length);
                parsed++;
            }
            catch (SafeTensorsException)
            {
            }
            catch (Exception exception)
            {
                Assert.Fail($"Replay with Mutated({index}): {exception}");
            }
        }
        // Both outcomes must be common, or the mutations test little.
        Assert.InRange(parsed, 2_000, 150_000);
    }

    [Fact]
    public void TwoHundredMutatedFilesOnDiskEitherOpenAndReadWholeOrFailWithTheTypedError()
    {
        using var directory = new TemporaryDirectory();
        string path = directory["fuzz.safetensors"];
        for (int index = 0; index < 200; index++)
        {
            File.WriteAllBytes(path, Mutated(index));
            try
            {
                using SafeTensorsFile file = SafeTensorsFile.Open(path);
                foreach (SafeTensorInfo tensor in file.Header.Tensors.Where(tensor => tensor.Type == SafeTensorType.F32))
                    Assert.Equal(tensor.ElementCount, file.Span<float>(tensor.Name).ToArray().Length);
            }
            catch (SafeTensorsException exception)
            {
                Assert.StartsWith(path, exception.Message);
            }
            catch (Exception exception)
            {
                Assert.Fail($"Replay with Mutated({index}) on disk: {exception}");
            }
        }
    }

    private static void AssertSound(SafeTensorsHeader header, long fileLength)
    {
        long end = header.Tensors.Count > 0 ? header.Tensors[0].Offset : fileLength;
        foreach (SafeTensorInfo tensor in header.Tensors)
        {
            Assert.Equal(end, tensor.Offset);
            long bytes = tensor.Shape.Aggregate((long)SafeTensorTypes.Size(tensor.Type), (product, size) => product * size);
            Assert.Equal(tensor.ByteCount, bytes);
            end += tensor.ByteCount;
        }
        Assert.Equal(fileLength, end);
        Assert.Equal(header.Tensors.Count, header.Tensors.Select(tensor => tensor.Name).Distinct().Count());
    }

    private static byte[] Mutated(int index)
    {
        var random = new Random(Seed + index);
        (string header, int dataBytes) = HeaderBytes.Valid(random);
        List<byte> json = [.. Encoding.UTF8.GetBytes(header)];
        int rounds = random.Next(0, 4);
        for (int round = 0; round < rounds; round++)
            Mutate(json, random);
        byte[] file = HeaderBytes.File([.. json], Math.Max(0, random.Next(8) == 0 ? dataBytes + random.Next(-3, 4) : dataBytes));
        if (random.Next(12) == 0)
            file[random.Next(8)] ^= (byte)(1 << random.Next(8));
        if (random.Next(12) == 0)
            file = file[..random.Next(file.Length + 1)];
        return file;
    }

    private static void Mutate(List<byte> json, Random random)
    {
        int at = random.Next(json.Count + 1);
        int length = Math.Min(random.Next(1, 9), json.Count - at);
        switch (random.Next(6))
        {
            case 0 when at < json.Count:
                json[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1:
                json.RemoveRange(at, length);
                break;
            case 2:
                json.InsertRange(at, Encoding.UTF8.GetBytes(Fragments[random.Next(Fragments.Length)]));
                break;
            case 3: // a number, replaced
                int[] digits = [.. Enumerable.Range(0, json.Count).Where(i => char.IsAsciiDigit((char)json[i]))];
                if (digits.Length == 0)
                    break;
                int digit = digits[random.Next(digits.Length)];
                json.RemoveAt(digit);
                json.InsertRange(digit, Encoding.UTF8.GetBytes(Fragments[random.Next(9)]));
                break;
            case 4: // a stretch, doubled
                json.InsertRange(at, json.GetRange(at, Math.Min(random.Next(1, 80), json.Count - at)));
                break;
            default:
                if (at < json.Count)
                    json[at] = (byte)random.Next(256);
                break;
        }
    }
}
