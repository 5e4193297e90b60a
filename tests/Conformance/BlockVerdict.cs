namespace AttnCompose.Conformance;

/// <summary>Judges what a block selector chose of one head against its definition, over the rows that in fact take part.</summary>
internal static class BlockVerdict
{
    /// <summary>What is wrong with a choice.</summary>
    /// <param name="inputs">The case.</param>
    /// <param name="chosen">What was chosen.</param>
    /// <param name="batch">The sequence.</param>
    /// <param name="head">The query head.</param>
    /// <param name="keys">Positions of the keys that take part.</param>
    /// <param name="queries">Query rows that take part.</param>
    /// <param name="scoreError">How far a sum of probabilities may be from the truth.</param>
    public static IEnumerable<string> Failures(
        PipelineCase inputs, BlockMask chosen, int batch, int head, int[] keys, int[] queries, double scoreError)
    {
        if (queries.Length == 0 || keys.Length == 0)
            yield break;
        PipelineConfig config = inputs.Config;
        var rows = new BlockHead
        {
            Query = Gather(inputs.QueryHead(batch, head), queries, config.HeadDim),
            Key = Gather(inputs.KeyHead(inputs.Key, batch, head), keys, config.HeadDim),
            Dim = config.HeadDim, BlockQuery = chosen.BlockQuery, BlockKey = chosen.BlockKey,
            Causal = config.Mask == AttentionMask.Causal, Scale = inputs.Scale, ScoreError = scoreError,
            Gate = inputs.Tensors.Any ? (inputs.Tensors.Of("query_gate", head), inputs.Tensors.Of("key_gate", head)) : ([], []),
        };
        if (new SelectorSettings(config).Expected(config.BlockSelector, rows) is not { } expected)
            yield break;
        for (int i = 0; i < rows.QueryBlocks; i++)
        {
            for (int j = 0; j < chosen.KeyBlocks; j++)
            {
                bool visits = chosen.Visits(batch, head, i, j), inside = j < rows.KeyBlocks;
                if (visits ? !inside || !expected.May[i, j] : inside && expected.Must[i, j])
                    yield return $"batch {batch} head {head}: query block {i} {(visits ? "visits" : "leaves out")} key block {j}";
            }
        }
        int[] columns = chosen.Columns(batch, head).ToArray();
        if (columns.Length != expected.ColumnCount || (expected.Columns is { } band && !band.Holds(columns)))
            yield return $"batch {batch} head {head}: {columns.Length} columns, not the {expected.ColumnCount} highest";
    }

    private static float[] Gather(ReadOnlySpan<float> data, int[] rows, int dim)
    {
        var gathered = new float[rows.Length * dim];
        for (int i = 0; i < rows.Length; i++)
            data.Slice(rows[i] * dim, dim).CopyTo(gathered.AsSpan(i * dim));
        return gathered;
    }
}
