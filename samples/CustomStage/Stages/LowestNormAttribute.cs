using AttnCompose.Cpu;

namespace AttnCompose.Samples;

/// <summary>
/// Token selector that looks at no query: of each key/value head the tokens are kept whose keys are shortest, since keys of a
/// small L2 norm draw attention (arXiv 2406.11430). All query heads of a group keep the same tokens. The last
/// <see cref="Window"/> tokens are always kept.
/// </summary>
/// <remarks>
/// A squared norm is 32 sums, sum l over the elements d with d / 2 = l modulo 32, ascending, of which then those 16 apart are
/// added, those 8 apart, and so on. Every operation is a float32 operation rounded on its own, so CPU and GPU choose alike to
/// the last token. Ties go to the lower position; a NaN ranks last.
/// </remarks>
[DeviceStage("lowest_norm.cuh", Type = "LowestNorm", Elements = [ElementType.Float16, ElementType.BFloat16])]
[DeviceBuffer("scores", "float", Shape = "[batch, query heads, key length]")]
[DevicePhase("score", Scope = PhaseScope.KeyValueHeadKeyTile, Reads = ["key"], Writes = ["scores"],
    Summary = "minus the squared norm of each prefix key")]
[DevicePhase("select", Scope = PhaseScope.QueryHead, Reads = ["scores"], Writes = ["token_index"], Parameters = ["Count"],
    Summary = "the shortest prefix keys and the window, ascending")]
public sealed class LowestNormAttribute : TokenSelectorAttribute
{
    private const int Lanes = 32;

    /// <summary>Tokens of a sequence that each head keeps, the window among them.</summary>
    [RuntimeParameter(4096, Min = 1)]
    public int Count { get; set; }

    /// <summary>Tokens at the end of a sequence that are always kept.</summary>
    [ConstantParameter(64, Min = 1, Max = 1024)]
    public int Window { get; set; }

    /// <inheritdoc/>
    public override void DescribeWorkspace(in ProblemShape shape, WorkspaceLayout workspace)
    {
        ArgumentNullException.ThrowIfNull(workspace);
        workspace.Add("scores", checked((long)shape.Batch * shape.QueryHeads * shape.KeyLength), sizeof(float));
    }

    /// <inheritdoc/>
    public override unsafe void Select<T, TScore>(
        in CpuInputs<T> problem, CpuExecution cpu, TScore scores, TokenSelection selection)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ProblemShape shape = problem.Shape;
        int heads = shape.Batch * shape.KeyValueHeads;
        var work = new HeadWork<T>
        {
            Problem = problem, Selection = selection, Count = Count, Window = Window,
            Ranks = cpu.Scratch<ulong>((long)heads * shape.KeyLength),
            Rows = cpu.Scratch<float>((long)cpu.Workers.Count * shape.HeadDim),
        };
        cpu.Workers.Run(ref work, heads);
    }

    /// <summary>One key/value head of one sequence at a time.</summary>
    private unsafe struct HeadWork<T> : ICpuWork
        where T : unmanaged
    {
        public required CpuInputs<T> Problem;
        public required TokenSelection Selection;
        public required int Count;
        public required int Window;
        public required ulong* Ranks; // [batch, key/value heads, key length]: norm, then position
        public required float* Rows; // [workers, head dim]

        public readonly void Execute(int item, int worker)
        {
            ProblemShape shape = Problem.Shape;
            (int batch, int head) = Math.DivRem(item, shape.KeyValueHeads);
            SequenceShape sequence = Problem.Sequence(batch);
            int prefix = Math.Max(0, sequence.KeyLength - Window), kept = Math.Clamp(Count - Window, 0, prefix);
            var ranks = new Span<ulong>(Ranks + (long)item * shape.KeyLength, prefix);
            if (kept < prefix)
            {
                var row = new Span<float>(Rows + (long)worker * shape.HeadDim, shape.HeadDim);
                for (int t = 0; t < prefix; t++)
                    ranks[t] = (ulong)OrderOf(SquaredNorm(Problem.Key.Row(batch, head, t), row)) << 32 | (uint)t;
                ranks.Sort();
                foreach (ref ulong rank in ranks[..kept])
                    rank = (uint)rank;
                ranks[..kept].Sort();
            }
            for (int h = head * shape.GroupSize; h < (head + 1) * shape.GroupSize; h++)
                Keep(batch, h, sequence, ranks, kept);
        }

        private readonly void Keep(int batch, int head, SequenceShape sequence, ReadOnlySpan<ulong> ranks, int kept)
        {
            Span<int> positions = Selection.Buffer(batch, head);
            int count = 0, beforeQueries = 0;
            for (int i = 0; i < kept; i++)
                Add(kept == ranks.Length ? i : (int)ranks[i], positions);
            for (int t = ranks.Length; t < sequence.KeyLength; t++)
                Add(t, positions);
            Selection.SetCounts(batch, head, count, beforeQueries);

            void Add(int position, Span<int> positions)
            {
                positions[count++] = position;
                beforeQueries += position < sequence.FirstQuery ? 1 : 0;
            }
        }

        private static float SquaredNorm(ReadOnlySpan<T> key, Span<float> row)
        {
            ElementConvert.ToFloat(key, row);
            Span<float> sums = stackalloc float[Lanes];
            sums.Clear();
            for (int d = 0; d < row.Length; d++)
                sums[d / 2 % Lanes] += row[d] * row[d];
            for (int apart = Lanes / 2; apart > 0; apart /= 2)
            {
                for (int l = 0; l < apart; l++)
                    sums[l] += sums[l + apart];
            }
            return sums[0];
        }

        // The bits of a number that is not negative ascend with it.
        private static uint OrderOf(float norm) => float.IsNaN(norm) ? uint.MaxValue : BitConverter.SingleToUInt32Bits(norm);
    }
}
