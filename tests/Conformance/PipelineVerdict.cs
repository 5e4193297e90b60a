using System.Globalization;
using AttnCompose.Cpu;

namespace AttnCompose.Conformance;

/// <summary>
/// Judges selection and arithmetic apart. Selection: float32 scores differ from the truth in their last bits, so a head's
/// choice may differ from the true one only by tokens within that error of its threshold, and the count only as far as the
/// error moves mass. Arithmetic: attention over the rows that were in fact chosen, tightly.
/// </summary>
internal sealed class PipelineVerdict(PipelineCase inputs, PipelineResult result)
{
    private const double AbsoluteScoreError = 1e-36; // probabilities below float32's normal range count as 0

    private readonly PipelineConfig _config = inputs.Config;

    /// <summary>The largest error of an output that was judged, in units of what is allowed.</summary>
    public double LargestError { get; private set; }

    /// <summary>Heads whose tokens were chosen again on the CPU from the device's scores.</summary>
    public int SelectionsCompared { get; private set; }

    public IEnumerable<string> Failures()
    {
        foreach (string fault in result.Faults)
            yield return fault;
        for (int batch = 0; batch < _config.Batch; batch++)
        {
            bool broken = false;
            if (_config.Sparse)
            {
                foreach (string failure in StructureFailures(batch))
                {
                    broken = true;
                    yield return failure;
                }
                if (broken)
                    continue; // positions that are no selection cannot be judged further
                foreach (string failure in ChoiceFailures(batch).Concat(SelectorFailures(batch)))
                    yield return failure;
            }
            for (int head = 0; head < _config.QueryHeads; head++)
            {
                foreach (string failure in ArithmeticFailures(batch, head))
                    yield return failure;
            }
        }
    }

    private IEnumerable<string> StructureFailures(int batch)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        int prefix = Math.Max(0, sequence.KeyLength - _config.Window);
        int count = result.Positions![batch * _config.QueryHeads].Length;
        for (int head = 0; head < _config.QueryHeads; head++)
        {
            int[] positions = result.Positions[batch * _config.QueryHeads + head];
            if (positions.Length != count && !TokenSettings.CountsDiffer(_config))
                yield return $"batch {batch}: head 0 keeps {count}, head {head} keeps {positions.Length}";
            if (positions.Any(position => position < 0 || position >= sequence.KeyLength))
                yield return $"batch {batch} head {head}: a position lies outside [0, {sequence.KeyLength})";
            if (positions.Zip(positions.Skip(1)).Any(pair => pair.First >= pair.Second))
                yield return $"batch {batch} head {head}: positions do not ascend";
            if (positions.Count(position => position >= prefix) != sequence.KeyLength - prefix)
                yield return $"batch {batch} head {head}: the window is not kept whole";
            int before = positions.Count(position => position < sequence.FirstQuery);
            int begin = result.QueryBegins![batch * _config.QueryHeads + head];
            if (begin != before)
                yield return $"batch {batch} head {head}: query begin {begin}, not {before}";
        }
    }

    private IEnumerable<string> ChoiceFailures(int batch)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        int prefix = sequence.KeyLength - _config.Window;
        int[] keptOf = [.. Enumerable.Range(batch * _config.QueryHeads, _config.QueryHeads)
            .Select(row => result.Positions![row].Count(position => position < prefix))];
        if (prefix <= 0 || sequence.QueryLength == 0)
        {
            foreach (int kept in keptOf.Where(kept => kept != Math.Max(0, prefix)))
                yield return $"batch {batch}: keeps {kept} of {prefix} prefix tokens though nothing tells them apart";
            yield break;
        }

        var truth = new double[_config.QueryHeads][];
        double relative = 0;
        for (int head = 0; head < _config.QueryHeads; head++)
        {
            double[] raw = RawScores<double>(_config, batch, head, prefix);
            truth[head] = SelectionOracle.Pool(raw, _config.Pool);
            relative = Math.Max(relative, RelativeError(_config, batch, head, raw));
        }
        int group = _config.QueryHeads / _config.KeyValueHeads;
        truth = SelectionOracle.Join(truth, group, _config.Scope);
        relative += _config.Scope == HeadScope.QueryHead ? 0 : Math.ScaleB(_config.QueryHeads, -23); // roundings of the sum
        relative += _config.RoundScores ? Math.ScaleB(1, -7) : 0; // raw and pooled scores are rounded, each by 2^-9 at most
        if (_config.Pruned)
        {
            // The second pair scores as [RecentQueries] does.
            PipelineConfig second = _config with { Score = TokenScoreKind.Recent };
            double[][] raw = [.. Enumerable.Range(0, _config.QueryHeads).Select(head => RawScores<double>(second, batch, head, prefix))];
            relative = raw.Select((scores, head) => RelativeError(second, batch, head, scores)).Append(relative).Max();
            int[][] positions = result.Positions![(batch * _config.QueryHeads)..((batch + 1) * _config.QueryHeads)];
            foreach (string failure in new TokenSettings(_config).PruningFailures(
                _config, truth, raw, positions, sequence.KeyLength, relative, AbsoluteScoreError))
                yield return $"batch {batch} {failure}";
            yield break;
        }
        for (int head = 0; head < _config.QueryHeads && result.Scores is not null; head++)
        {
            float[] scores = result.Scores[batch * _config.QueryHeads + head];
            for (int t = 0; t < prefix; t++)
            {
                if (!(Math.Abs(scores[t] - truth[head][t]) <= relative * truth[head][t] + AbsoluteScoreError))
                {
                    yield return Text(
                        $"batch {batch} head {head}: score {t} is {scores[t]}, the truth {truth[head][t]}, limit {relative:E1}");
                }
            }
        }
        double[] mean = SelectionOracle.Mean(truth);
        var settings = new TokenSettings(_config);
        for (int head = 0; head < _config.QueryHeads; head++)
        {
            int kept = keptOf[head];
            (int least, int most) = settings.KeptRange(
                _config, truth[head], mean, sequence.KeyLength, relative, AbsoluteScoreError);
            if (kept < least || kept > most)
                yield return $"batch {batch} head {head}: keeps {kept} prefix tokens, between {least} and {most} are right";
            if (ThresholdFailure(truth[head], kept, result.Positions![batch * _config.QueryHeads + head], relative) is { } failure)
                yield return $"batch {batch} head {head}: {failure}";
        }
    }

    // How far float32 scores of a head may be from the truth, each in relation to itself.
    private double RelativeError(PipelineConfig config, int batch, int head, double[] truth)
    {
        float[] single = RawScores<float>(config, batch, head, truth.Length);
        double yardstick = 0;
        for (int t = 0; t < truth.Length; t++)
        {
            if (truth[t] > AbsoluteScoreError)
                yardstick = Math.Max(yardstick, Math.Abs(single[t] - truth[t]) / truth[t]);
        }
        return 2 * yardstick + 2 * Tolerance.ProbabilityNoise(LargestScore(batch, head));
    }

    private static string? ThresholdFailure(double[] scores, int kept, int[] positions, double relative)
    {
        if (kept == 0 || kept == scores.Length)
            return null;
        double threshold = scores.OrderDescending().ElementAt(kept - 1);
        double limit = 2 * (relative * threshold + AbsoluteScoreError);
        var chosen = new bool[scores.Length];
        foreach (int position in positions)
        {
            if (position < scores.Length)
                chosen[position] = true;
        }
        for (int t = 0; t < scores.Length; t++)
        {
            if (chosen[t] ? scores[t] < threshold - limit : scores[t] > threshold + limit)
                return Text($"token {t} of score {scores[t]} is {(chosen[t] ? "kept" : "dropped")}, the threshold {threshold}");
        }
        return null;
    }

    /// <summary>The scores of the device, through the CPU's selector, choose the very tokens that the device chose.</summary>
    private IEnumerable<string> SelectorFailures(int batch)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        int heads = _config.QueryHeads;
        if (result.RawScores is null || sequence.KeyLength <= _config.Window || sequence.QueryLength == 0)
            yield break;
        using CpuDevice device = AttentionDevice.Cpu(1);
        using var cpu = new CpuExecution(device);
        var chosen = new TokenSelection();
        chosen.Reset(1, heads, sequence.KeyLength);
        float[] raw = [.. result.RawScores[(batch * heads)..((batch + 1) * heads)].SelectMany(scores => scores)];
        var shape = new ProblemShape(
            1, heads, _config.KeyValueHeads, sequence.QueryLength, sequence.KeyLength, _config.HeadDim) { Layer = _config.Layer };
        TokenSelectorAttribute first = _config.Selector();
        if (first is RankedBudgetAttribute pair)
            pair.Choose(raw, in shape, 0, in sequence, cpu, chosen);
        else
            ((RecentQueriesSelectorAttribute)first).Select(raw, 0, sequence.FirstQuery, cpu, chosen);
        if (result.LaterRawScores is not null)
        {
            float[] later = [.. result.LaterRawScores[(batch * heads)..((batch + 1) * heads)].SelectMany(scores => scores)];
            new TokenSettings(_config).Pruning(_config, first).Choose(later, in shape, 0, in sequence, cpu, chosen);
        }
        for (int head = 0; head < heads; head++)
        {
            SelectionsCompared++;
            int[] positions = result.Positions![batch * heads + head];
            if (!chosen.Positions(0, head).SequenceEqual(positions))
            {
                yield return $"batch {batch} head {head}: the device's scores choose {chosen.KeyCount(0, head)} tokens on the CPU, " +
                    $"{positions.Length} on the device, and not the same";
            }
        }
    }

    private IEnumerable<string> ArithmeticFailures(int batch, int head)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        int length = _config.QueryLength, dim = _config.HeadDim, row = batch * _config.QueryHeads + head;
        int[] keys = _config.Sparse ? result.Positions![row] : [.. Enumerable.Range(0, sequence.KeyLength)];
        int[] queries = _config.Sparse
            ? [.. keys.Where(position => position >= sequence.FirstQuery).Select(position => position - sequence.FirstQuery)]
            : [.. Enumerable.Range(0, sequence.QueryLength)];
        var truth = new double[length * dim];
        var truthLse = new double[length];
        var single = new float[length * dim];
        var singleLse = new float[length];
        if (result.Blocks is { } chosen)
        {
            double scoreError = 2e-6 + 2 * Tolerance.ProbabilityNoise(LargestScore(batch, head));
            foreach (string wrong in BlockVerdict.Failures(inputs, chosen, batch, head, keys, queries, scoreError))
                yield return wrong;
        }
        inputs.Attend<double>(batch, head, keys, queries, truth, truthLse, chosen: result.Blocks);
        inputs.Attend<float>(batch, head, keys, queries, single, singleLse, result.ProbabilityElement, result.Blocks);
        for (int i = 0; i < single.Length; i++)
            single[i] = (float)Tolerance.Round(single[i], inputs.OutputElement);
        float[] output = result.Output[(row * length * dim)..((row + 1) * length * dim)];
        string? failure = Tolerance.Judge(
            output, truth, single, inputs.OutputElement, LargestScore(batch, head), result.ProbabilityElement, out double error);
        if (failure is not null)
            yield return $"batch {batch} head {head}: {failure}";
        LargestError = Math.Max(LargestError, error);
        if (_config.Content == TensorContent.OneHot && !_config.FloatOutput)
        {
            foreach (string inexact in ExactFailures(batch, head, queries, output))
                yield return inexact;
        }
        for (int query = 0; query < length; query++)
        {
            float lse = result.LogSumExp[row * length + query];
            if (!Tolerance.LogSumExpIsClose(lse, truthLse[query]))
                yield return Text($"batch {batch} head {head} query {query}: log-sum-exp {lse}, the truth {truthLse[query]}");
            if (double.IsNegativeInfinity(truthLse[query]) && output[(query * dim)..((query + 1) * dim)].Any(IsNotZero))
                yield return $"batch {batch} head {head} query {query}: takes no part, but its row is not all +0";
        }

        static bool IsNotZero(float value) => BitConverter.SingleToInt32Bits(value) != 0;
    }

    /// <summary>A query that finds its own key alone gets that key's value row, to the bit once rounded to 16 bits.</summary>
    private IEnumerable<string> ExactFailures(int batch, int head, int[] queries, float[] output)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        int dim = _config.HeadDim;
        float[] values = inputs.KeyHead(inputs.Value, batch, head).ToArray();
        foreach (int query in queries)
        {
            int position = sequence.FirstQuery + query;
            if (inputs.FindsItself(batch, query)
                && !output.AsSpan(query * dim, dim).SequenceEqual(values.AsSpan(position * dim, dim)))
                yield return $"batch {batch} head {head} query {query}: its row is not value row {position}";
        }
    }

    private TReal[] RawScores<TReal>(PipelineConfig config, int batch, int head, int prefix)
        where TReal : struct, System.Numerics.IFloatingPointIeee754<TReal>
    {
        SequenceShape sequence = inputs.Sequence(batch);
        if (config is { HasPair: true, Score: TokenScoreKind.Accumulated })
        {
            // The mean over all queries, times their number.
            return [.. AttentionOracle.PrefixScores<TReal>(
                inputs.QueryHead(batch, head), inputs.KeyHead(inputs.Key, batch, head), _config.HeadDim, sequence.QueryLength,
                sequence.KeyLength, sequence.QueryLength, prefix, inputs.Scale, inputs.Rule)
                .Select(score => score * TReal.CreateChecked(sequence.QueryLength))];
        }
        if (config is { HasPair: true, Score: TokenScoreKind.Random })
        {
            var settings = new TokenSettings(_config);
            return [.. Enumerable.Range(0, prefix).Select(t =>
                TReal.CreateChecked(SelectionOracle.RandomScore(settings.Seed, settings.Layer.Index, head, t)))];
        }
        if (_config is { HasPair: true, Score: TokenScoreKind.Rule })
        {
            return TokenRuleOracle.Scores<TReal>(
                inputs.KeyHead(inputs.Key, batch, head), inputs.KeyHead(inputs.Value, batch, head), _config.HeadDim, head,
                sequence.KeyLength, prefix);
        }
        return AttentionOracle.PrefixScores<TReal>(
            inputs.QueryHead(batch, head), inputs.KeyHead(inputs.Key, batch, head), _config.HeadDim, sequence.QueryLength,
            sequence.KeyLength, _config.Window, prefix, inputs.Scale, inputs.Rule);
    }

    // What the lengths of the valid rows and the rule allow a score to be. One-hot scores are large whole numbers before
    // they are scaled, so the straightforward code sums them without rounding. Code that scales the query first does not:
    // each of dim sums is rounded.
    private double LargestScore(int batch, int head)
    {
        SequenceShape sequence = inputs.Sequence(batch);
        double roundings = _config.Content == TensorContent.OneHot ? Math.Sqrt(_config.HeadDim) : 1;
        double product = roundings * inputs.Scale * LongestRow(inputs.QueryHead(batch, head), sequence.QueryLength)
            * LongestRow(inputs.KeyHead(inputs.Key, batch, head), sequence.KeyLength);
        return product + RulePipelines.Reach(_config.Rule, sequence.KeyLength);
    }

    private double LongestRow(ReadOnlySpan<float> rows, int count)
    {
        double longest = 0;
        for (int row = 0; row < count; row++)
        {
            double squares = 0;
            foreach (float value in rows.Slice(row * _config.HeadDim, _config.HeadDim))
                squares += (double)value * value;
            longest = Math.Max(longest, Math.Sqrt(squares));
        }
        return longest;
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
