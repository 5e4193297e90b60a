using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Cli.Bench;

/// <summary>The options under which a pipeline keeps a given share of the tokens of given inputs.</summary>
internal static class KeepSettings
{
    private const string Coverage = "Coverage";
    private const string Count = "Count";
    private const string MinTokens = "MinTokens";
    private const string Window = "Window";
    private const int Trials = 16;
    private const double CloseEnough = 0.002;

    /// <summary>Whether a pipeline has a choice of how much it keeps.</summary>
    public static bool CanKeep(PipelineDescriptor pipeline) => Has(pipeline, Count) || Has(pipeline, Coverage);

    /// <summary>
    /// Finds the options: a count where the pipeline takes one, else the coverage that keeps a share. What a coverage keeps
    /// depends on the data and falls as the coverage grows.
    /// </summary>
    /// <param name="pipeline">The pipeline.</param>
    /// <param name="settings">Options that the user set; they stay.</param>
    /// <param name="length">Tokens.</param>
    /// <param name="keep">The share asked for.</param>
    /// <param name="kept">Runs the pipeline's selection under some options: the share that is kept.</param>
    public static (IReadOnlyList<KeyValuePair<string, string>> Settings, double? Coverage) Find(
        PipelineDescriptor pipeline, IReadOnlyList<KeyValuePair<string, string>> settings, int length, double keep,
        Func<IReadOnlyList<KeyValuePair<string, string>>, double> kept)
    {
        string chosen = Has(pipeline, Count) ? Count : Coverage;
        if (settings.Any(setting => setting.Key == chosen))
            throw new UsageException($"--keep chooses {chosen}; --set {chosen} fixes it. Give one of them.");
        if (chosen == Count)
            return ([.. settings, new(Count, Math.Round(keep * length).ToString(CultureInfo.InvariantCulture))], null);
        List<KeyValuePair<string, string>> fixedSettings = [.. settings];
        if (Has(pipeline, MinTokens) && !settings.Any(setting => setting.Key == MinTokens))
            fixedSettings.Add(new(MinTokens, "0"));
        if (keep >= 1)
            return ([.. fixedSettings, new(Coverage, "0")], 0);
        (double low, double high, double coverage) = (0, 1, 0.5);
        for (int i = 0; i < Trials; i++)
        {
            coverage = (low + high) / 2;
            double share = kept([.. fixedSettings, Setting(coverage)]);
            (low, high) = share > keep ? (coverage, high) : (low, coverage);
            if (Math.Abs(share - keep) < CloseEnough)
                break;
        }
        return ([.. fixedSettings, Setting(coverage)], coverage);

        static KeyValuePair<string, string> Setting(double value) =>
            new(Coverage, value.ToString("R", CultureInfo.InvariantCulture));
    }

    /// <summary>
    /// The inputs cut to the queries that a selector scores with, so that a selection costs no attention: the last ones.
    /// </summary>
    public static CudaAttentionArguments<T, T> LastQueries<T>(CudaAttentionArguments<T, T> arguments, PipelineDescriptor pipeline)
        where T : unmanaged
    {
        nint length = arguments.Query.Lengths[2];
        ParameterPlan? window = pipeline.Plan.Parameters.FirstOrDefault(parameter => parameter.Name == Window);
        nint rows = Math.Min(length, window is null ? length : (nint)window.Value);
        return arguments with { Query = Last(arguments.Query), Output = Last(arguments.Output) };

        CudaTensor<T> Last(CudaTensor<T> tensor) => tensor.View(
            (long)(length - rows) * tensor.Strides[2], [tensor.Lengths[0], tensor.Lengths[1], rows, tensor.Lengths[3]],
            tensor.Strides);
    }

    /// <summary>Runs a pipeline once: the tokens that it keeps, the mean over heads.</summary>
    public static int Kept<T>(ICudaAttentionPipeline pipeline, CudaAttentionArguments<T, T> arguments, CudaDevice device)
        where T : unmanaged
    {
        int heads = (int)arguments.Query.Lengths[1];
        using var selection = new CudaTokenSelection(device, 1, heads, (int)arguments.Key.Lengths[2]);
        CudaAttentionArguments<T, T> selecting = arguments with { Selection = selection };
        pipeline.Run(in selecting, device.DefaultStream);
        var counts = new int[heads];
        selection.KeyCounts.CopyTo(counts, device.DefaultStream);
        return (int)Math.Round(counts.Average());
    }

    // Of what chooses tokens: a block selector may have a count of its own.
    private static bool Has(PipelineDescriptor pipeline, string parameter) => pipeline.Plan.Stages
        .Where(stage => stage.Kind is StageKind.TokenScore or StageKind.TokenSelector)
        .SelectMany(stage => stage.Parameters).Any(known => known.Name == parameter && !known.IsConstant);
}
