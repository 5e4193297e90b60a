using System.Globalization;
using System.Runtime.InteropServices;
using AttnCompose.Cpu;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>The checks of <see cref="LongSuite"/> on the tensors of one length.</summary>
internal sealed partial class LongChecks<T> : IDisposable
    where T : unmanaged
{
    private const int Heads = 4;
    private const int Window = 128; // of the ready pipeline's selector
    private const int SampledRows = 32; // of a head
    private const int SampledScores = 200;
    private const int MergedQueries = 16;
    private const double Coverage = 0.3;

    // Of two results for the same row: 16-bit outputs and weights of 8 bits at least are off by 2^-8 of the row together.
    private const double RowError = 1.0 / 64;

    // A tile of keys left out of 512K would be 2.4E-4 of the sum.
    private const double LogSumExpError = 3e-5;

    // Scores reach 22 at most in float32, and each is a sum of some hundred products.
    private const double ScoreError = 5e-5;
    private const double LargestScore = 32;

    private static readonly int[] s_order = [2, 0, 3, 1];

    private readonly CudaDevice _device;
    private readonly DeviceReference _reference;
    private readonly CompactTensors<T, T> _tensors;
    private readonly int _length;
    private readonly int _dim;
    private SuiteResult<T>? _dense;

    public LongChecks(CudaDevice device, DeviceReference reference, int length, int headDim)
    {
        (_device, _reference, _length, _dim) = (device, reference, length, headDim);
        _tensors = new(device, new SuiteShape(1, Heads, 1, length, headDim), seed: 31);
    }

    /// <summary>All checks; those of dense attention come first, the others need its result.</summary>
    public IEnumerable<(string Name, Func<string?> Check)> All =>
    [
        ("dense: sampled rows", DenseRows),
        ("dense: permuted heads", () => PermutedHeads(CreateDense)),
        ("dense: constant values", () => ConstantValues(CreateDense)),
        ("dense: halves of the keys merged", () => Halves(CreateDense)),
        ("token-sparse: all kept is dense", AllKept),
        ("token-sparse: scores, selection, sampled rows", SparseRows),
        ("token-sparse: permuted heads", () => PermutedHeads(CreateHalf)),
        ("token-sparse: constant values", () => ConstantValues(() => CreateSparse(Coverage))),
        ("token-sparse: halves of the keys merged", () => Halves(() => CreateSparse(0))),
        .. OfBlockSelectors,
    ];

    public void Dispose() => _tensors.Dispose();

    private ICudaAttentionPipeline CreateDense() => DenseAttention.Create(_device);

    private ICudaAttentionPipeline CreateSparse(double coverage, int minTokens = 0) =>
        TokenSparsePrefill.Create(_device, new() { Coverage = coverage, MinTokens = minTokens });

    /// <summary>Half the tokens, whatever the scores: the mean, whose last bit is the order of heads, decides nothing.</summary>
    private ICudaAttentionPipeline CreateHalf() => CreateSparse(coverage: 1, minTokens: _length / 2);

    private SuiteResult<T> Dense => _dense ?? throw new InvalidOperationException("There is no dense result to compare with.");

    private string? DenseRows()
    {
        using ICudaAttentionPipeline pipeline = CreateDense();
        SuiteResult<T> result = _tensors.Run(pipeline);
        _dense = result;
        var random = new Random(41);
        ReferenceRow[] rows =
        [
            .. from head in Enumerable.Range(0, Heads)
               from i in Enumerable.Range(0, SampledRows)
               let row = i switch { 0 => 0, 1 => 1, 2 => Window, 3 => _length - 1, _ => random.Next(_length) }
               select new ReferenceRow(0, head, row, row, _length),
        ];
        return result.Poison() ?? Compare(result, rows, selection: null);
    }

    private string? AllKept()
    {
        using ICudaAttentionPipeline pipeline = CreateSparse(coverage: 0);
        return Differences(Dense, _tensors.Run(pipeline));
    }

    private string? SparseRows()
    {
        using ICudaAttentionPipeline pipeline = CreateSparse(Coverage);
        using var selection = new CudaTokenSelection(_device, 1, Heads, _length);
        var scores = new BufferObserver("raw_scores");
        SuiteResult<T> result;
        _device.Observer = scores;
        try
        {
            result = _tensors.Run(pipeline, _tensors.Arguments with { Selection = selection });
        }
        finally
        {
            _device.Observer = null;
        }
        var chosen = new TokenSelection();
        selection.CopyTo(chosen);
        int prefix = _length - Window;
        float[] raw = [.. Enumerable.Range(0, Heads).SelectMany(head => scores.Of("raw_scores").AsSpan(head * _length, prefix).ToArray())];
        return ScoreFailure(raw, prefix) ?? SelectionFailure(raw, chosen) ?? SparseRowFailure(result, selection, chosen);
    }

    /// <summary>Sampled scores, from the reference's log-sum-exps: means of a token's probability over the window.</summary>
    private string? ScoreFailure(float[] raw, int prefix)
    {
        double[] sums = WindowLogSumExps();
        var random = new Random(43);
        for (int head = 0; head < Heads; head++)
        {
            float[] queries = WindowQueries(head);
            for (int sample = 0; sample < SampledScores; sample++)
            {
                int token = sample switch { 0 => 0, 1 => prefix - 1, _ => random.Next(prefix) };
                double mean = 0;
                for (int row = 0; row < Window; row++)
                    mean += Probability(queries, row, token, sums[head * Window + row]) / Window;
                float score = raw[head * prefix + token];
                if (!(Math.Abs(score - mean) <= ScoreError * mean))
                    return Text($"head {head}: the score of token {token} is {score}, the truth {mean}");
            }
        }
        return null;
    }

    /// <summary>The reference's log-sum-exps of the last queries, [heads, window].</summary>
    private double[] WindowLogSumExps()
    {
        ReferenceRow[] rows =
        [
            .. from head in Enumerable.Range(0, Heads)
               from i in Enumerable.Range(_length - Window, Window)
               select new ReferenceRow(0, head, i, i, _length),
        ];
        return _reference.Attend(_tensors.Query, _tensors.Key, _tensors.Value, rows).LogSumExp;
    }

    private float[] WindowQueries(int head)
    {
        var queries = new float[Window * _dim];
        ElementConvert.ToFloat<T>(_tensors.HostQuery.AsSpan(((head + 1) * _length - Window) * _dim, Window * _dim), queries);
        return queries;
    }

    private double Probability(float[] queries, int row, int token, double logSumExp)
    {
        Span<float> key = stackalloc float[_dim];
        ElementConvert.ToFloat(_tensors.HostKey.AsSpan(token * _dim, _dim), key);
        double dot = 0;
        for (int d = 0; d < _dim; d++)
            dot += (double)queries[row * _dim + d] * key[d];
        return Math.Exp(dot / MathF.Sqrt(_dim) - logSumExp);
    }

    private string? SelectionFailure(float[] raw, TokenSelection chosen)
    {
        using CpuDevice host = AttentionDevice.Cpu(1);
        using var cpu = new CpuExecution(host);
        var selector = new TokenCoverageAttribute { Coverage = Coverage, Window = Window, Pool = 7, MinTokens = 0 };
        var expected = new TokenSelection();
        expected.Reset(1, Heads, _length);
        selector.Select(raw, 0, 0, cpu, expected);
        for (int head = 0; head < Heads; head++)
        {
            if (!expected.Positions(0, head).SequenceEqual(chosen.Positions(0, head)))
            {
                return $"head {head}: the device's scores choose {expected.KeyCount(0, head)} tokens on the CPU, " +
                    $"{chosen.KeyCount(0, head)} on the device, and not the same";
            }
            if (chosen.KeyCount(0, head) is var count && (count <= Window || count >= _length))
                return $"head {head} keeps {count} of {_length} tokens: that checks little";
        }
        return null;
    }

    private string? SparseRowFailure(SuiteResult<T> result, CudaTokenSelection selection, TokenSelection chosen)
    {
        var rows = new List<ReferenceRow>();
        var random = new Random(47);
        for (int head = 0; head < Heads; head++)
        {
            int[] kept = chosen.Positions(0, head).ToArray();
            for (int i = 0; i < SampledRows; i++)
            {
                int row = kept[i switch { 0 => 0, 1 => kept.Length - 1, _ => random.Next(kept.Length) }];
                rows.Add(new(0, head, row, row, kept.Length));
            }
            var isKept = new bool[_length];
            Array.ForEach(kept, position => isKept[position] = true);
            for (int row = 0; row < _length; row++)
            {
                int at = head * _length + row;
                bool isNothing = float.IsNegativeInfinity(result.LogSumExp[at])
                    && !MemoryMarshal.AsBytes(result.Output.AsSpan(at * _dim, _dim)).ContainsAnyExcept((byte)0);
                if (isKept[row] == isNothing)
                    return $"head {head} row {row} is {(isKept[row] ? "kept, but empty" : "not kept, but not empty")}";
            }
        }
        return Compare(result, [.. rows], selection);
    }

    /// <summary>Rows of a result against the reference, each by the errors that rounded weights alone would make.</summary>
    private string? Compare(SuiteResult<T> result, ReferenceRow[] rows, CudaTokenSelection? selection)
    {
        ElementType element = ElementConvert.TypeOf<T>();
        var (truth, sums) = _reference.Attend(_tensors.Query, _tensors.Key, _tensors.Value, rows, selection);
        var (yardstick, _) = _reference.Attend(_tensors.Query, _tensors.Key, _tensors.Value, rows, selection, roundsWeights: true);
        float[] single = [.. yardstick.Select(value => (float)Tolerance.Round(value, element))];
        for (int i = 0; i < rows.Length; i++)
        {
            int row = rows[i].QueryHead * _length + rows[i].Query;
            Range columns = (i * _dim)..((i + 1) * _dim);
            string? failure = Tolerance.Judge(
                Floats(result, row), truth[columns], single[columns], element, LargestScore, element, out _);
            if (failure is not null)
                return $"{rows[i]}: {failure}";
            if (!(Math.Abs(result.LogSumExp[row] - sums[i]) <= LogSumExpError))
                return Text($"{rows[i]}: log-sum-exp {result.LogSumExp[row]}, the truth {sums[i]}");
        }
        return null;
    }

    private string? PermutedHeads(Func<ICudaAttentionPipeline> create)
    {
        using ICudaAttentionPipeline pipeline = create();
        SuiteResult<T> straight = _tensors.Run(pipeline);
        int head = _length * _dim;
        using CudaTensor<T> query = CudaTensor.AllocateBhld<T>(_device, 1, Heads, _length, _dim);
        for (int h = 0; h < Heads; h++)
            query.View(h * (long)head, [head], [1]).CopyFrom(_tensors.HostQuery.AsSpan(s_order[h] * head, head));
        SuiteResult<T> permuted = _tensors.Run(pipeline, _tensors.Arguments with { Query = query });
        for (int h = 0; h < Heads; h++)
        {
            if (Head(straight, s_order[h]).Difference(Head(permuted, h)) is { } difference)
                return $"head {s_order[h]} as head {h}: {difference}";
        }
        return straight.Poison();

        SuiteResult<T> Head(SuiteResult<T> of, int h) =>
            new(of.Output[(h * head)..((h + 1) * head)], of.LogSumExp[(h * _length)..((h + 1) * _length)]);
    }

    private string? ConstantValues(Func<ICudaAttentionPipeline> create)
    {
        float[] row = [.. Enumerable.Range(0, _dim).Select(d => (d % 7 + 1) / 4f * (d % 2 == 0 ? 1 : -1))];
        var element = new T[_dim];
        ElementConvert.FromFloat(row, element.AsSpan());
        var values = new T[_length * _dim];
        for (int i = 0; i < _length; i++)
            element.CopyTo(values, i * _dim);
        using CudaTensor<T> value = CudaTensor.FromBhld<T>(_device, values, 1, 1, _length, _dim);
        using ICudaAttentionPipeline pipeline = create();
        SuiteResult<T> result = _tensors.Run(pipeline, _tensors.Arguments with { Value = value });
        return FirstRow(at =>
        {
            bool isKept = !float.IsNegativeInfinity(result.LogSumExp[at]);
            float[] output = Floats(result, at);
            for (int d = 0; d < _dim; d++)
            {
                float right = isKept ? row[d] : 0;
                if (!(Math.Abs(output[d] - right) <= Math.Abs(right) / 128))
                    return Text($"column {d} is {output[d]}, the value of every row is {right}");
            }
            return null;
        });
    }

    /// <summary>
    /// The last queries over the first half of the keys, where each sees every key and so may be a head of its own with one
    /// query; over the second half, where they stand at the end; and over all.
    /// </summary>
    private string? Halves(Func<ICudaAttentionPipeline> create)
    {
        int half = _length / 2, rest = _length - half, first = _length - MergedQueries;
        T[] queries = [.. Enumerable.Range(0, Heads).SelectMany(h =>
            _tensors.HostQuery.AsSpan((h * _length + first) * _dim, MergedQueries * _dim).ToArray())];
        nint[] strides = [(nint)_length * _dim, (nint)_length * _dim, _dim, 1];
        using ICudaAttentionPipeline pipeline = create();
        SuiteResult<T> before = Part(Heads * MergedQueries, 1, from: 0, half);
        SuiteResult<T> after = Part(Heads, MergedQueries, from: half, rest);
        SuiteResult<T> whole = Part(Heads, MergedQueries, from: 0, _length);
        for (int i = 0; i < Heads * MergedQueries; i++)
        {
            double largest = Math.Max(before.LogSumExp[i], after.LogSumExp[i]);
            double left = Math.Exp(before.LogSumExp[i] - largest), right = Math.Exp(after.LogSumExp[i] - largest);
            float[] a = Floats(before, i), b = Floats(after, i);
            double[] merged = [.. a.Zip(b, (x, y) => (left * x + right * y) / (left + right))];
            if (RowFailure(merged, Floats(whole, i), largest + Math.Log(left + right), whole.LogSumExp[i]) is { } failure)
                return $"head {i / MergedQueries} query {first + i % MergedQueries}: {failure}";
        }
        return null;

        SuiteResult<T> Part(int heads, int rows, int from, int count)
        {
            using CudaTensor<T> query = CudaTensor.FromBhld<T>(_device, queries, 1, heads, rows, _dim);
            using CudaTensor<T> output = CudaTensor.AllocateBhld<T>(_device, 1, heads, rows, _dim);
            using CudaTensor<float> logSumExp = CudaTensor.Allocate<float>(_device, 1, heads, rows);
            output.FillBytes(0xFF);
            logSumExp.FillBytes(0xFF);
            pipeline.Run(new CudaAttentionArguments<T, T>
            {
                Query = query, Output = output, LogSumExp = logSumExp,
                Key = _tensors.Key.View((long)from * _dim, [1, 1, count, _dim], strides),
                Value = _tensors.Value.View((long)from * _dim, [1, 1, count, _dim], strides),
            });
            return SuiteResult<T>.Of(output, logSumExp);
        }
    }

    private string? Differences(SuiteResult<T> one, SuiteResult<T> other) => FirstRow(row =>
        RowFailure(
            [.. Floats(one, row).Select(value => (double)value)], Floats(other, row), one.LogSumExp[row], other.LogSumExp[row]));

    private static string? RowFailure(double[] one, float[] other, double oneSum, double otherSum)
    {
        double squares = 0, error = 0;
        for (int d = 0; d < one.Length; d++)
        {
            squares += one[d] * one[d];
            error += (one[d] - other[d]) * (one[d] - other[d]);
        }
        if (!(error <= RowError * RowError * squares))
            return Text($"the rows are {Math.Sqrt(error / squares):E1} of their length apart");
        return Math.Abs(oneSum - otherSum) <= LogSumExpError ? null : Text($"log-sum-exps {oneSum} and {otherSum}");
    }

    /// <summary>What is wrong with some row of [heads, length], if anything.</summary>
    private string? FirstRow(Func<int, string?> failureOf)
    {
        string? failure = null;
        Parallel.For(0, Heads * _length, (row, loop) =>
        {
            if (failureOf(row) is not { } found)
                return;
            Volatile.Write(ref failure, $"head {row / _length} row {row % _length}: {found}");
            loop.Stop();
        });
        return failure;
    }

    private float[] Floats(SuiteResult<T> result, int row)
    {
        var values = new float[_dim];
        ElementConvert.ToFloat<T>(result.Output.AsSpan(row * _dim, _dim), values);
        return values;
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>Poisons the workspace of a call and keeps some buffers of it.</summary>
    private sealed class BufferObserver(params string[] names) : ICudaRunObserver
    {
        private readonly Dictionary<string, float[]> _buffers = [];

        public int GuardBytes => 0;

        public float[] Of(string name) => _buffers[name];

        public void BeforeLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream) =>
            memory.FillBytes(0xFF, stream);

        public void AfterLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
            foreach (string name in names)
            {
                var (_, _, offset, bytes) = workspace.Buffers.Single(buffer => buffer.Name == name);
                var values = _buffers[name] = new float[bytes / sizeof(float)];
                memory.View(offset, [(nint)bytes], [1]).CopyTo(MemoryMarshal.AsBytes(values.AsSpan()), stream);
            }
        }
    }
}
