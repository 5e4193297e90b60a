using System.Globalization;

namespace AttnCompose.Conformance;

/// <summary>The options of a pipeline for a configuration: what its stages are called tells what they are given.</summary>
internal static class OptionValues
{
    /// <summary>The pipeline with these options.</summary>
    public static IAttentionPipeline Create(PipelineDescriptor pipeline, PipelineConfig config, AttentionDevice device) =>
        pipeline.Create(device, Of(pipeline.Plan, config));

    private static IEnumerable<KeyValuePair<string, string>> Of(PipelinePlan plan, PipelineConfig config)
    {
        (TokenSettings tokens, SelectorSettings blocks) = (new(config), new(config));
        foreach (StagePlan stage in plan.Stages)
        {
            foreach (ParameterPlan option in stage.Parameters.Where(parameter => !parameter.IsConstant))
            {
                // One that several stages have goes by the stage's name and its own, with a number where that is taken.
                string name = option.Name.TrimEnd('2');
                name = name.Length > stage.Name.Length && name.StartsWith(stage.Name, StringComparison.Ordinal)
                    ? name[stage.Name.Length..]
                    : name;
                yield return new(option.Name, ValueOf(stage.Name, name, config, tokens, blocks).ToString("R", CultureInfo.InvariantCulture));
            }
        }
    }

    private static double ValueOf(
        string stage, string option, PipelineConfig config, TokenSettings tokens, SelectorSettings blocks) => (stage, option) switch
    {
        (_, "Coverage") => config.Coverage,
        (_, "MinTokens") => config.MinTokens,
        ("FixedCount", "Count") => config.Count,
        ("DepthSchedule", "Count") => tokens.DepthCount,
        ("GateWeights", "Count") => blocks.GateCount,
        (_, "Beta") => tokens.Beta,
        (_, "Ratio") => tokens.Ratio,
        (_, "P") => tokens.P,
        (_, "Seed") => tokens.Seed,
        (_, "Sink") => blocks.Sink,
        (_, "Local") => blocks.Local,
        (_, "VerticalSize") => blocks.VerticalSize,
        (_, "SlashSize") => blocks.SlashSize,
        (_, "ForcedVertical") => blocks.ForcedVertical,
        (_, "ForcedSlash") => blocks.ForcedSlash,
        (_, "Gamma") => blocks.Gamma,
        ("FlexPrefill", "Tau") => blocks.Tau,
        (_, "MinBudget") => blocks.MinBudget,
        ("AntiDiagonal", "Threshold") => blocks.Threshold,
        ("GateWeights", "Threshold") => blocks.GateThreshold,
        (_, "TopK") => blocks.TopK,
        ("PooledCoverage", "Tau") => blocks.MapTau,
        (_, "Theta") => blocks.Theta,
        (nameof(TokenRuled.Weight), "Sinks") => TokenRuleOracle.Sinks,
        _ => throw new ArgumentException($"No configuration says what {option} of {stage} is."),
    };
}
