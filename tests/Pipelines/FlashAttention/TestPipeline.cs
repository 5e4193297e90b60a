using AttnCompose.Cpu;

namespace AttnCompose.Pipelines.Tests.FlashAttention;

/// <summary>What the generator would emit for a dense or indexed pipeline with one rule.</summary>
public sealed class TestPipeline(AttentionCase of, TokenSelection selection) : ICpuPipeline
{
    private static readonly FlashAttentionAttribute s_kernel = new();

    public void Execute<T, TOut>(in CpuProblem<T, TOut> problem, CpuExecution cpu)
        where T : unmanaged
        where TOut : unmanaged
    {
        if (of.Indexed)
            WithRows(in problem, cpu, new IndexedRows(selection));
        else
            WithRows(in problem, cpu, new DirectRows());
    }

    private void WithRows<T, TOut, TRows>(in CpuProblem<T, TOut> problem, CpuExecution cpu, TRows rows)
        where T : unmanaged
        where TOut : unmanaged
        where TRows : struct, IRowSource
    {
        switch (of.Rule)
        {
            case Rule.Alibi:
                s_kernel.Attend(in problem, cpu, rows, new AlibiHook(), new DirectDestination());
                break;
            case Rule.Mask:
                s_kernel.Attend(in problem, cpu, rows, new MaskHook(), new DirectDestination());
                break;
            default:
                s_kernel.Attend(in problem, cpu, rows, new NoScoreHook(), new DirectDestination());
                break;
        }
    }
}

/// <summary>Rows that a selection names, for each query head its own.</summary>
public readonly struct IndexedRows(TokenSelection selection) : IRowSource
{
    public static bool DiffersByQueryHead => true;

    public RowSet Rows(in SequenceShape sequence, int batch, int queryHead) =>
        new(selection.Positions(batch, queryHead), selection.QueryBegin(batch, queryHead));
}

/// <summary>A linear bias by distance, steeper for later heads and later sequences.</summary>
public readonly struct AlibiHook : IScoreHook
{
    public static bool IsIdentity => false;

    public static double Score(double score, int batch, int head, int query, int key) =>
        score - 0.01 * (1 + head + 0.5 * batch) * Math.Abs(query - key);

    public void Apply(in ScoreSegment at, Span<float> scores)
    {
        for (int j = 0; j < scores.Length; j++)
            scores[j] = (float)Score(scores[j], at.Batch, at.QueryHead, at.Query, at.Key(j));
    }
}

/// <summary>Masks pairs by a pattern that depends on the key/value head, some queries wholly, and a run of early keys.</summary>
public readonly struct MaskHook : IScoreHook
{
    public static bool IsIdentity => false;

    public static bool Sees(int keyHead, int query, int key) =>
        query % 13 != 5 && (query + 2 * key + keyHead) % 3 != 0 && (query < 200 || key >= 192);

    public void Apply(in ScoreSegment at, Span<float> scores)
    {
        for (int j = 0; j < scores.Length; j++)
        {
            if (!Sees(at.KeyValueHead, at.Query, at.Key(j)))
                scores[j] = float.NegativeInfinity;
        }
    }
}
