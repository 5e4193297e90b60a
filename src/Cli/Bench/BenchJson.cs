using System.Globalization;
using System.Text;
using System.Text.Json;

namespace AttnCompose.Cli.Bench;

/// <summary>Reports as JSON, which the peers' script writes too, and as CSV.</summary>
internal static class BenchJson
{
    private const int Schema = 1;

    private static readonly BenchCase s_unknown = new() { Workload = "", Length = 0 };

    public static void Write(Stream stream, BenchReport report)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" });
        json.WriteStartObject();
        json.WriteNumber("schema", Schema);
        json.WriteString("created", report.Created.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture));
        json.WriteString("command", report.Command);
        json.WriteStartObject("machine");
        foreach ((string name, string value) in report.Machine)
            json.WriteString(name, value);
        json.WriteEndObject();
        json.WriteStartObject("ceilings");
        WriteNumber(json, "matmul_tflops", report.Ceilings.MatmulTeraflops);
        WriteNumber(json, "matmul_sustained_tflops", report.Ceilings.SustainedTeraflops);
        WriteNumber(json, "copy_tb_s", report.Ceilings.CopyTerabytes);
        json.WriteString("note", report.Ceilings.Note);
        json.WriteEndObject();
        json.WriteStartArray("rows");
        foreach (BenchRow row in report.Rows)
            WriteRow(json, row);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>The problem of a row, for a peer too.</summary>
    public static void WriteCase(Utf8JsonWriter json, BenchCase problem)
    {
        json.WriteString("workload", problem.Workload);
        json.WriteNumber("length", problem.Length);
        WriteNumber(json, "keep", problem.Keep);
        WriteNumber(json, "kept", problem.Kept);
        WriteNumber(json, "coverage", problem.Coverage);
        json.WriteNumber("heads", problem.Heads);
        json.WriteNumber("kv_heads", problem.KeyValueHeads);
        json.WriteNumber("head_dim", problem.HeadDim);
        json.WriteString("dtype", BenchCase.ElementName(problem.Element));
        json.WriteString("mask", BenchCase.MaskName(problem.Mask));
        json.WriteBoolean("graph", problem.Graph);
    }

    /// <summary>Reads a report, ours or a peer's.</summary>
    /// <exception cref="CommandException">The file cannot be read or is no report; the message names it.</exception>
    public static BenchReport Read(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            JsonElement root = document.RootElement;
            int schema = root.GetProperty("schema").GetInt32();
            if (schema != Schema)
                throw new CommandException($"{path}: has schema {schema}; {Schema} is read.");
            JsonElement ceilings = root.TryGetProperty("ceilings", out JsonElement c) ? c : default;
            return new BenchReport
            {
                Created = DateTime.Parse(
                    root.GetProperty("created").GetString()!, CultureInfo.InvariantCulture,
                    DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal),
                Command = Text(root, "command"),
                Machine = root.TryGetProperty("machine", out JsonElement machine)
                    ? [.. machine.EnumerateObject().Select(fact => KeyValuePair.Create(fact.Name, fact.Value.ToString()))]
                    : [],
                Ceilings = new(
                    Number(ceilings, "matmul_tflops") ?? double.NaN,
                    Number(ceilings, "matmul_sustained_tflops") ?? double.NaN,
                    Number(ceilings, "copy_tb_s") ?? double.NaN,
                    Text(ceilings, "note")),
                Rows = [.. root.GetProperty("rows").EnumerateArray().Select(row => ReadRow(row, s_unknown))],
            };
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"{path}: cannot be read: {CommandLine.OneLine(error.Message)}");
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException
            or InvalidOperationException or FormatException)
        {
            throw new CommandException($"{path}: is no report of bench: {CommandLine.OneLine(error.Message)}");
        }
    }

    /// <summary>Reads a row; what it does not say of its problem is that of <paramref name="of"/>.</summary>
    public static BenchRow ReadRow(JsonElement row, BenchCase of) => new()
    {
        Implementation = row.GetProperty("implementation").GetString()!,
        IsOwn = row.TryGetProperty("own", out JsonElement own) && own.GetBoolean(),
        Part = Text(row, "part"),
        Case = of with
        {
            Workload = Text(row, "workload") is { Length: > 0 } workload ? workload : of.Workload,
            Length = (int?)Number(row, "length") ?? of.Length,
            Keep = Number(row, "keep") ?? of.Keep,
            Kept = (int?)Number(row, "kept") ?? of.Kept,
            Coverage = Number(row, "coverage") ?? of.Coverage,
            Heads = (int?)Number(row, "heads") ?? of.Heads,
            KeyValueHeads = (int?)Number(row, "kv_heads") ?? of.KeyValueHeads,
            HeadDim = (int?)Number(row, "head_dim") ?? of.HeadDim,
            Element = Text(row, "dtype") switch
            {
                "" => of.Element,
                "bf16" => ElementType.BFloat16,
                "fp16" => ElementType.Float16,
                "fp32" => ElementType.Float32,
                string other => throw new FormatException($"there is no dtype '{other}'"),
            },
            Mask = Text(row, "mask") switch
            {
                "" => of.Mask,
                "causal" => AttentionMask.Causal,
                "full" => AttentionMask.Full,
                string other => throw new FormatException($"there is no mask '{other}'"),
            },
            Graph = row.TryGetProperty("graph", out JsonElement graph) ? graph.GetBoolean() : of.Graph,
        },
        Samples = row.TryGetProperty("samples_ms", out JsonElement samples)
            ? [.. samples.EnumerateArray().Select(sample => sample.GetDouble())]
            : [],
        MemoryBytes = (long?)Number(row, "memory_bytes") ?? 0,
        ClockMegahertz = Number(row, "clock_mhz") ?? 0,
        PowerWatts = Number(row, "power_w") ?? 0,
        Note = Text(row, "note"),
        Error = Text(row, "error"),
    };

    /// <summary>One line a row; the samples themselves are in the JSON alone.</summary>
    public static string ToCsv(BenchReport report)
    {
        var text = new StringBuilder(
            "implementation,own,workload,part,length,keep,kept,heads,kv_heads,head_dim,dtype,mask,graph,samples,"
            + "ms,ms_min,ms_q1,ms_q3,ms_max,tflops,tb_s,memory_bytes,clock_mhz,power_w,note,error\n");
        foreach (BenchRow row in report.Rows)
        {
            (BenchCase of, SampleStatistics time) = (row.Case, row.Statistics);
            object?[] fields =
            [
                row.Implementation, row.IsOwn, of.Workload, row.Part, of.Length, of.Keep, of.Kept, of.Heads, of.KeyValueHeads,
                of.HeadDim, BenchCase.ElementName(of.Element), BenchCase.MaskName(of.Mask), of.Graph, time.Count, time.Median,
                time.Least, time.LowerQuartile, time.UpperQuartile, time.Greatest, row.Teraflops, row.TerabytesPerSecond,
                row.MemoryBytes, row.ClockMegahertz, row.PowerWatts, row.Note, row.Error,
            ];
            text.AppendJoin(',', fields.Select(Field)).Append('\n');
        }
        return text.ToString();
    }

    private static string Field(object? value)
    {
        string text = value switch
        {
            null or double.NaN => "",
            double number => number.ToString("G7", CultureInfo.InvariantCulture),
            bool flag => flag ? "true" : "false",
            _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
        };
        return text.AsSpan().IndexOfAny(",\"\n\r") < 0 ? text : $"\"{text.Replace("\"", "\"\"")}\"";
    }

    private static void WriteRow(Utf8JsonWriter json, BenchRow row)
    {
        json.WriteStartObject();
        json.WriteString("implementation", row.Implementation);
        json.WriteBoolean("own", row.IsOwn);
        WriteCase(json, row.Case);
        if (row.Part.Length > 0)
            json.WriteString("part", row.Part);
        json.WriteStartArray("samples_ms");
        foreach (double sample in row.Samples)
            json.WriteNumberValue(Math.Round(sample, 6));
        json.WriteEndArray();
        if (row.IsMeasured)
        {
            SampleStatistics time = row.Statistics;
            WriteNumber(json, "ms", time.Median);
            WriteNumber(json, "ms_q1", time.LowerQuartile);
            WriteNumber(json, "ms_q3", time.UpperQuartile);
        }
        if (row.HasOperations)
        {
            WriteNumber(json, "flops", row.Case.Operations);
            WriteNumber(json, "bytes", row.Case.Bytes);
            WriteNumber(json, "tflops", row.Teraflops);
            WriteNumber(json, "tb_s", row.TerabytesPerSecond);
        }
        if (row.MemoryBytes > 0)
            json.WriteNumber("memory_bytes", row.MemoryBytes);
        if (row.ClockMegahertz > 0)
            json.WriteNumber("clock_mhz", row.ClockMegahertz);
        if (row.PowerWatts > 0)
            json.WriteNumber("power_w", row.PowerWatts);
        if (row.Note.Length > 0)
            json.WriteString("note", row.Note);
        if (row.Error.Length > 0)
            json.WriteString("error", row.Error);
        json.WriteEndObject();
    }

    // JSON has no NaN; what was not measured is null.
    private static void WriteNumber(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number && double.IsFinite(number))
            json.WriteNumber(name, Math.Abs(number) < 1e9 ? Math.Round(number, 6) : number);
        else
            json.WriteNull(name);
    }

    private static string Text(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value)
            && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    private static double? Number(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value)
            && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
