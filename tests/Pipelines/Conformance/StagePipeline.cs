using AttnCompose.Conformance;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests;

/// <summary>
/// A pipeline put together by hand from stages, as the generator would, so that parameters which a declaration fixes can be
/// drawn at random.
/// </summary>
internal sealed class StagePipeline<TScore> : IAttentionPipeline, ICpuPipeline
    where TScore : struct, IScoreHook
{
    private readonly CpuPipelineRunner _runner;
    private readonly TokenSelectorAttribute? _selector;
    private readonly AttentionKernelAttribute _kernel;
    private readonly GatherTokensAttribute _compress = new();
    private readonly ScatterTokensAttribute _decompress = new();
    private readonly TScore _scores;

    public StagePipeline(
        CpuDevice device, AttentionMask mask, TokenSelectorAttribute? selector, AttentionKernelAttribute kernel, TScore scores)
    {
        Device = device;
        _runner = new CpuPipelineRunner(device, "stages", mask, headDim: 0, ElementType.Any);
        (_selector, _kernel, _scores) = (selector, kernel, scores);
    }

    public AttentionDevice Device { get; }

    public PipelinePlan PipelinePlan => throw new NotSupportedException("Put together by hand, without a plan.");

    public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
        where T : unmanaged
        where TOut : unmanaged =>
        _runner.Run(this, in arguments);

    public void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
        where T : unmanaged
        where TOut : unmanaged
    {
        if (_selector is null)
        {
            _kernel.Attend(in problem, cpu, default(DirectRows), _scores, default(DirectDestination));
            return;
        }
        ProblemShape shape = problem.Shape;
        TokenSelection selection = cpu.Selection;
        selection.Reset(shape.Batch, shape.QueryHeads, shape.KeyLength);
        _selector.Select(problem.Inputs, cpu, _scores, selection);
        _kernel.Attend(in problem, cpu, _compress.Rows(selection), _scores, _decompress.Destination(selection));
    }

    public void Dispose() => _runner.Dispose();
}

/// <summary>The rules of <see cref="RuleKind"/> as score hooks, and the pipeline of a configuration.</summary>
internal static class StagePipeline
{
    public static IAttentionPipeline Create(PipelineConfig config, CpuDevice device)
    {
        TokenSelectorAttribute? selector = config.Sparse ? config.Selector() : null;
        var kernel = new FlashAttentionAttribute();
        return config.Rule switch
        {
            RuleKind.Distance => new StagePipeline<DistanceRule>(device, config.Mask, selector, kernel, default),
            RuleKind.MaskFifths => new StagePipeline<MaskFifthsRule>(device, config.Mask, selector, kernel, default),
            _ => new StagePipeline<NoScoreHook>(device, config.Mask, selector, kernel, default),
        };
    }

    private readonly struct DistanceRule : IScoreHook
    {
        public static bool IsIdentity => false;

        public void Apply(in ScoreSegment at, Span<float> scores)
        {
            for (int i = 0; i < scores.Length; i++)
                scores[i] -= 0.0625f * Math.Abs(at.Query - at.Key(i));
        }
    }

    private readonly struct MaskFifthsRule : IScoreHook
    {
        public static bool IsIdentity => false;

        public void Apply(in ScoreSegment at, Span<float> scores)
        {
            for (int i = 0; i < scores.Length; i++)
                scores[i] = at.Key(i) % 5 == 4 ? float.NegativeInfinity : scores[i];
        }
    }
}
