using System.Runtime.InteropServices;
using AttnCompose.Cpu;
using AttnCompose.Cuda;
using Xunit;

namespace AttnCompose.Testing;

/// <summary>What a pipeline made of a case, and the checks that hold for every stage that chooses.</summary>
internal sealed partial class StageRun
{
    private const int LongLength = 400;
    private const int RowStep = 7;

    private readonly StageCase _inputs;
    private readonly float[] _output;
    private readonly float[] _logSumExp;
    private readonly TokenSelection? _selection; // null where every token takes part
    private readonly BlockMask? _blocks; // null where every block is visited

    private StageRun(StageCase inputs, float[] output, float[] logSumExp, TokenSelection? selection, BlockMask? blocks) =>
        (_inputs, _output, _logSumExp, _selection, _blocks) = (inputs, output, logSumExp, selection, blocks);

    /// <summary>The rules of a pipeline by their definition.</summary>
    public delegate double RuleOf(double score, in ScorePosition at);

    /// <summary>Where a pipeline's choice is handed out: its tokens if it chooses some, its blocks likewise.</summary>
    public static (TokenSelection? Selection, BlockMask? Blocks) Receivers(PipelinePlan plan) => (
        plan.Stages.Any(stage => stage.Kind == StageKind.TokenSelector) ? new() : null,
        plan.Stages.Any(stage => stage.Kind == StageKind.BlockSelector) ? new() : null);

    /// <summary>Runs a pipeline over a case on its device. Outputs hold NaN before, a GPU's workspace 0xFF.</summary>
    public static StageRun Of<T>(StageCase inputs, IAttentionPipeline pipeline, HeadSet denseHeads = default)
        where T : unmanaged
    {
        ProblemShape s = inputs.Shape;
        T[] query = Elements(inputs.Query), key = Elements(inputs.Key), value = Elements(inputs.Value);
        var output = new float[inputs.Query.Length];
        var logSumExp = new float[s.Batch * s.QueryHeads * s.QueryLength];
        output.AsSpan().Fill(float.NaN);
        logSumExp.AsSpan().Fill(float.NaN);
        (TokenSelection? selection, BlockMask? blocks) = Receivers(pipeline.PipelinePlan);
        using (Poison.On(pipeline.Device))
        {
            pipeline.Run(new AttentionArguments<T, float>
            {
                Query = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)query, s.Batch, s.QueryHeads, s.QueryLength, s.HeadDim),
                Key = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)key, s.Batch, s.KeyValueHeads, s.KeyLength, s.HeadDim),
                Value = AttentionTensor.FromBhld<T>((ReadOnlySpan<T>)value, s.Batch, s.KeyValueHeads, s.KeyLength, s.HeadDim),
                Output = AttentionTensor.FromBhld(output, s.Batch, s.QueryHeads, s.QueryLength, s.HeadDim),
                LogSumExp = AttentionTensor.LogSumExp(logSumExp, s.Batch, s.QueryHeads, s.QueryLength),
                KeyLengths = inputs.KeyLengths, QueryLengths = inputs.QueryLengths, Selection = selection,
                BlockSelection = blocks, DenseHeads = denseHeads,
            });
        }
        return new(inputs, output, logSumExp, selection, blocks);

        static T[] Elements(float[] values)
        {
            var elements = new T[values.Length];
            ElementConvert.FromFloat<T>(values, elements);
            return elements;
        }
    }

    /// <summary>Positions of a head's tokens that take part.</summary>
    public int[] Positions(int batch, int head) => _selection is null
        ? [.. Enumerable.Range(0, _inputs.Sequence(batch).KeyLength)]
        : [.. _selection.Positions(batch, head)];

    /// <summary>Which of them is the first one that has a query.</summary>
    private int QueryBegin(int batch, int head) => _selection?.QueryBegin(batch, head) ?? _inputs.Sequence(batch).FirstQuery;

    /// <summary>Positions ascend within the sequence, and the first one with a query is where it is said to be.</summary>
    public void HasForm()
    {
        ForEachHead((b, h) =>
        {
            (SequenceShape sequence, int[] positions) = (_inputs.Sequence(b), Positions(b, h));
            Assert.All(positions, position => Assert.InRange(position, 0, sequence.KeyLength - 1));
            Assert.True(
                positions.Zip(positions.Skip(1)).All(pair => pair.First < pair.Second),
                $"{Where(b, h)}: positions do not ascend.");
            int before = positions.Count(position => position < sequence.FirstQuery);
            Assert.True(
                before == QueryBegin(b, h),
                $"{Where(b, h)}: {before} kept positions come before the first query, not {QueryBegin(b, h)}.");
            Assert.True(
                sequence.KeyLength == 0 || positions.Length > 0, $"{Where(b, h)}: of {sequence.KeyLength} tokens none is kept.");
        });
    }

    /// <summary>The output is attention in double among what was chosen; other rows are +0 and their log-sum-exp -inf.</summary>
    /// <param name="mask">The pipeline's mask.</param>
    /// <param name="tolerance">Largest error of an output over the largest value, and of a log-sum-exp.</param>
    /// <param name="rule">The pipeline's rules.</param>
    public void IsAttention(AttentionMask mask, double tolerance, RuleOf rule)
    {
        ProblemShape s = _inputs.Shape;
        ForEachHead((b, h) =>
        {
            (SequenceShape sequence, int[] positions) = (_inputs.Sequence(b), Positions(b, h));
            // Every row of a short sequence, some of a long one: enough to meet every tile.
            for (int row = 0; row < s.QueryLength; row += s.QueryLength > LongLength ? RowStep : 1)
            {
                int index = (b * s.QueryHeads + h) * s.QueryLength + row;
                ReadOnlySpan<float> actual = _output.AsSpan(index * s.HeadDim, s.HeadDim);
                int own = sequence.FirstQuery + row;
                int place = row < sequence.QueryLength ? Array.BinarySearch(positions, own) : -1;
                int[] keys = place < 0 ? [] : [.. Seen(mask, b, h, place, positions.Length).Select(key => positions[key])];
                (double[] truth, double logSumExp, double largest) = Attend(b, h, row, own, keys, rule);
                if (double.IsNegativeInfinity(logSumExp))
                {
                    Assert.True(
                        MemoryMarshal.AsBytes(actual).IndexOfAnyExcept((byte)0) < 0,
                        $"{Where(b, h)} row {row}: it takes no part and is not +0.");
                    Assert.True(
                        float.IsNegativeInfinity(_logSumExp[index]),
                        $"{Where(b, h)} row {row}: it takes no part; its log-sum-exp is {_logSumExp[index]}, not -inf.");
                    continue;
                }
                for (int d = 0; d < truth.Length; d++)
                {
                    Assert.True(
                        Math.Abs(actual[d] - truth[d]) <= tolerance * largest,
                        $"{Where(b, h)} row {row} element {d}: {actual[d]}, the truth {truth[d]}, limit {tolerance * largest:0.0e0}.");
                }
                Assert.True(
                    Math.Abs(_logSumExp[index] - logSumExp) <= tolerance * Math.Max(1, Math.Abs(logSumExp)),
                    $"{Where(b, h)} row {row}: log-sum-exp {_logSumExp[index]}, the truth is {logSumExp}.");
            }
        });
    }

    /// <summary>The same choice as another run.</summary>
    public void ChoosesAs(StageRun other) => ForEachHead((b, h) => IsAs(other, b, b, h));

    /// <summary>What was chosen of a head is what another run chose of it.</summary>
    private void IsAs(StageRun other, int batch, int otherBatch, int head)
    {
        Assert.Equal(other.Positions(otherBatch, head), Positions(batch, head));
        if (_blocks is not null)
            HasBlocksOf(other, batch, otherBatch, head);
    }

    /// <summary>The same choice and the same bits as another run.</summary>
    public void IsBitwise(StageRun other)
    {
        ChoosesAs(other);
        Assert.True(
            MemoryMarshal.AsBytes(_output.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(other._output.AsSpan())),
            $"{_inputs.Name}: the outputs differ.");
        Assert.True(
            MemoryMarshal.AsBytes(_logSumExp.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(other._logSumExp.AsSpan())),
            $"{_inputs.Name}: the log-sum-exps differ.");
    }

    /// <summary>One of its sequences is what another run made of that sequence alone.</summary>
    public void HasSequence(int batch, StageRun alone)
    {
        for (int h = 0; h < _inputs.Shape.QueryHeads; h++)
            IsAs(alone, batch, 0, h);
        int size = alone._output.Length;
        Assert.Equal(alone._output, _output[(batch * size)..((batch + 1) * size)]);
    }

    private (double[] Output, double LogSumExp, double Largest) Attend(int batch, int head, int row, int own, int[] keys, RuleOf rule)
    {
        int group = _inputs.Shape.GroupSize;
        double[] scores =
        [
            .. keys.Select(key => rule(
                _inputs.Scale * Dot(_inputs.QueryRow(batch, head, row), _inputs.KeyRow(batch, head, key)),
                new ScorePosition(batch, head, head / group, own, key))),
        ];
        double highest = scores.DefaultIfEmpty(double.NegativeInfinity).Max(), largest = 0;
        var output = new double[_inputs.Shape.HeadDim];
        if (double.IsNegativeInfinity(highest))
            return (output, highest, largest);
        double sum = scores.Sum(score => Math.Exp(score - highest));
        for (int i = 0; i < keys.Length; i++)
        {
            ReadOnlySpan<float> value = _inputs.ValueRow(batch, head, keys[i]);
            for (int d = 0; d < output.Length; d++)
            {
                output[d] += Math.Exp(scores[i] - highest) / sum * value[d];
                largest = Math.Max(largest, Math.Abs(value[d]));
            }
        }
        return (output, highest + Math.Log(sum), largest);
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int d = 0; d < a.Length; d++)
            sum += (double)a[d] * b[d];
        return sum;
    }

    private void ForEachHead(Action<int, int> check)
    {
        for (int b = 0; b < _inputs.Shape.Batch; b++)
        {
            for (int h = 0; h < _inputs.Shape.QueryHeads; h++)
                check(b, h);
        }
    }

    private string Where(int batch, int head) => $"{_inputs.Name}, batch {batch} head {head}";

    /// <summary>Fills the workspaces of a device before each run; a CPU has none.</summary>
    private sealed class Poison(CudaDevice device) : ICudaRunObserver, IDisposable
    {
        public int GuardBytes => 0;

        public static Poison? On(AttentionDevice device)
        {
            if (device is not CudaDevice cuda)
                return null;
            var poison = new Poison(cuda);
            cuda.Observer = poison;
            return poison;
        }

        public void BeforeLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream) =>
            memory.FillBytes(0xFF, stream);

        public void AfterLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
        }

        public void Dispose() => device.Observer = null;
    }
}
