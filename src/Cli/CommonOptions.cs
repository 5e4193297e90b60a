using System.CommandLine;
using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Cli;

/// <summary>The options that several commands share, and what their texts mean.</summary>
internal static class CommonOptions
{
    public static Option<string> Pipeline() => new("--pipeline")
    {
        Description = "The pipeline, such as token-sparse-prefill.",
        HelpName = "name",
        Required = true,
    };

    public static Option<string> Device() => new("--device")
    {
        Description = "Where to run: cpu, or cuda:N for GPU N (cuda is cuda:0).",
        HelpName = "cpu|cuda[:N]",
        DefaultValueFactory = _ => "cpu",
    };

    public static Option<string[]> Set() => new("--set")
    {
        Description = "Sets a parameter of the pipeline; may be given several times. 'plan' lists them.",
        HelpName = "Name=Value",
        Arity = ArgumentArity.OneOrMore,
    };

    /// <summary>Splits <c>Name=Value</c> texts.</summary>
    /// <exception cref="UsageException">One is not of that form, or a name comes twice.</exception>
    public static IReadOnlyList<KeyValuePair<string, string>> ParseSettings(string[]? texts)
    {
        var settings = new List<KeyValuePair<string, string>>();
        foreach (string text in texts ?? [])
        {
            int equals = text.IndexOf('=');
            if (equals <= 0)
                throw new UsageException($"--set takes Name=Value; got '{text}'.");
            string name = text[..equals].Trim();
            if (settings.Any(setting => setting.Key == name))
                throw new UsageException($"--set gives {name} twice.");
            settings.Add(new(name, text[(equals + 1)..].Trim()));
        }
        return settings;
    }

    /// <summary>Whether a pipeline chooses by itself what it attends to, so that it runs on query, key and value alone.</summary>
    public static bool RunsAlone(PipelineDescriptor pipeline) =>
        pipeline.Plan.Stages.All(stage => stage.Name != "GivenBlocks") && pipeline.Plan.Rules.All(rule => rule.Spans.Count == 0)
        && pipeline.Plan.Tensors.Count == 0;

    /// <summary>Refuses a pipeline whose stages take tensors from the caller, for a command that has none to give.</summary>
    /// <exception cref="UsageException">It is such a pipeline.</exception>
    public static PipelineDescriptor WithoutTensors(PipelineDescriptor pipeline, string command)
    {
        if (pipeline.Plan.Tensors.Count == 0)
            return pipeline;
        string names = string.Join(", ", pipeline.Plan.Tensors.Select(tensor => tensor.Name));
        throw new UsageException(
            $"{pipeline.Name} takes {names} from its caller, and {command} has none to give. 'run' reads them from its input file.");
    }

    /// <summary>Those of some settings that a pipeline has.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> SettingsOf(
        PipelineDescriptor pipeline, IReadOnlyList<KeyValuePair<string, string>> settings) =>
        [.. settings.Where(setting => pipeline.Plan.Parameters.Any(known => known.Name == setting.Key && !known.IsConstant))];

    /// <summary>Checks that each setting is one of any of some pipelines.</summary>
    /// <exception cref="UsageException">None of them has it.</exception>
    public static void CheckSettings(
        IReadOnlyList<KeyValuePair<string, string>> settings, IReadOnlyList<PipelineDescriptor> pipelines)
    {
        foreach (KeyValuePair<string, string> setting in settings)
        {
            if (pipelines.All(pipeline => SettingsOf(pipeline, [setting]).Count == 0))
                throw new UsageException($"None of the pipelines has a parameter '{setting.Key}'. 'plan' lists them.");
        }
    }

    /// <summary>Splits a comma-separated list of layer numbers.</summary>
    /// <exception cref="UsageException">An entry is not a number from 0 on.</exception>
    public static IReadOnlyList<int> ParseLayers(string text)
    {
        var layers = new SortedSet<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int layer))
                throw new UsageException($"--layers takes layer numbers such as 2,3,5; got '{text}'.");
            layers.Add(layer);
        }
        return [.. layers];
    }

    /// <summary>Reads <c>index/count</c>; nothing is said where there is no text.</summary>
    /// <exception cref="UsageException">It is not of that form, or there is no such layer.</exception>
    public static LayerPosition ParseLayer(string? text)
    {
        if (text is null)
            return default;
        string[] parts = text.Split('/');
        int index = 0, count = 0;
        bool isLayer = parts.Length == 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out index)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out count)
            && index < count && count <= LayerPosition.Most;
        if (!isLayer)
            throw new UsageException($"--layer takes a layer and how many there are, such as 3/32; got '{text}'.");
        return new(index, count);
    }

    /// <summary>Opens the device that a text names. There is no fallback to another one.</summary>
    /// <exception cref="UsageException">The text names no kind of device.</exception>
    public static AttentionDevice OpenDevice(string text)
    {
        if (text == "cpu")
            return AttentionDevice.Cpu();
        if (text == "cuda")
            return OpenCuda(0);
        if (text.StartsWith("cuda:", StringComparison.Ordinal)
            && int.TryParse(text["cuda:".Length..], NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal))
            return OpenCuda(ordinal);
        throw new UsageException($"--device takes cpu, cuda or cuda:N; got '{text}'.");
    }

    /// <summary>Makes an instance of a pipeline; what it refuses is wrong usage.</summary>
    public static IAttentionPipeline CreatePipeline(
        PipelineDescriptor pipeline, AttentionDevice device, IReadOnlyList<KeyValuePair<string, string>> settings)
    {
        try
        {
            return pipeline.Create(device, settings);
        }
        catch (ArgumentException error)
        {
            throw new UsageException(CommandLine.OneLine(error.Message));
        }
    }

    private static AttentionDevice OpenCuda(int ordinal)
    {
        try
        {
            return AttentionDevice.Cuda(ordinal);
        }
        catch (CudaUnavailableException error)
        {
            // The rest of the message lists every place that was tried; doctor shows it with what it means.
            string line = CommandLine.OneLine(error.Message);
            throw new CommandException($"{(line.EndsWith(" Tried:", StringComparison.Ordinal) ? line[..^" Tried:".Length] : line)} See 'attncompose doctor'.");
        }
    }
}
