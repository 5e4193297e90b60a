namespace AttnCompose.Generators;

/// <summary>Metadata names of the types that the generator knows. A test resolves each against the real assembly.</summary>
internal static class KnownTypeNames
{
    public const string AttentionPipeline = "AttnCompose.AttentionPipelineAttribute";
    public const string Stage = "AttnCompose.StageAttribute";
    public const string TokenScore = "AttnCompose.TokenScoreAttribute";
    public const string TokenBudget = "AttnCompose.TokenBudgetAttribute";
    public const string TokenSelector = "AttnCompose.TokenSelectorAttribute";
    public const string Compress = "AttnCompose.CompressAttribute";
    public const string BlockSelector = "AttnCompose.BlockSelectorAttribute";
    public const string BlockAttentionKernel = "AttnCompose.BlockAttentionKernelAttribute";
    public const string AttentionKernel = "AttnCompose.AttentionKernelAttribute";
    public const string Decompress = "AttnCompose.DecompressAttribute";
    public const string RuntimeParameter = "AttnCompose.RuntimeParameterAttribute";
    public const string ConstantParameter = "AttnCompose.ConstantParameterAttribute";
    public const string ScoreModifier = "AttnCompose.ScoreModifierAttribute";
    public const string MaskModifier = "AttnCompose.MaskModifierAttribute";
    public const string SinkLogit = "AttnCompose.SinkLogitAttribute";
    public const string TokenScoreRule = "AttnCompose.TokenScoreRuleAttribute";
    public const string ScorePosition = "AttnCompose.ScorePosition";
    public const string TokenPosition = "AttnCompose.TokenPosition";
    public const string RuleMath = "AttnCompose.RuleMath";
    public const string DeviceStage = "AttnCompose.DeviceStageAttribute";
    public const string DevicePhase = "AttnCompose.DevicePhaseAttribute";
    public const string DeviceHook = "AttnCompose.DeviceHookAttribute";
    public const string DeviceGather = "AttnCompose.DeviceGatherAttribute";
    public const string DeviceBuffer = "AttnCompose.DeviceBufferAttribute";
    public const string TensorArgument = "AttnCompose.TensorArgumentAttribute";
}
