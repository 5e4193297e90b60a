using System.Runtime.CompilerServices;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>Turns pooled scores and a count into positions: each head's highest scores and the window, ascending.</summary>
internal static unsafe class TokenRanking
{
    private const int DigitBits = 11;

    /// <summary>Every token of a sequence, for all heads.</summary>
    public static void KeepAll(TokenSelection selection, int batch, in SequenceShape sequence)
    {
        for (int head = 0; head < selection.QueryHeads; head++)
        {
            Span<int> positions = selection.Buffer(batch, head);
            Iota(positions[..sequence.KeyLength], 0);
            selection.SetCounts(batch, head, sequence.KeyLength, Math.Max(0, sequence.FirstQuery));
        }
    }

    /// <summary>
    /// Each head keeps as many as <paramref name="kept"/> says of its highest of <paramref name="prefix"/> scores; NaN ranks lowest, ties go to
    /// the lower position. All positions after the prefix are kept too.
    /// </summary>
    /// <param name="scores">[heads, prefix], free of subnormals and -0.</param>
    /// <param name="prefix">Tokens that have a score.</param>
    /// <param name="kept">[heads]: how many of them each head keeps.</param>
    /// <param name="batch">Sequence of the selection.</param>
    /// <param name="sequence">Its lengths.</param>
    /// <param name="workers">Workers.</param>
    /// <param name="selection">Receives positions and counts.</param>
    public static void KeepHighest(
        float* scores, int prefix, int* kept, int batch, in SequenceShape sequence, CpuWorkers workers, TokenSelection selection)
    {
        var work = new HeadWork
        {
            Scores = scores, Prefix = prefix, Kept = kept, Batch = batch, Sequence = sequence, Selection = selection,
        };
        workers.Run(ref work, selection.QueryHeads);
    }

    /// <summary>Copies the scores [heads, prefix] of a sequence to the selection; 0 up to the width.</summary>
    public static void HandOutScores(float* scores, int batch, int prefix, int width, TokenSelection selection)
    {
        for (int head = 0; head < selection.QueryHeads && width > 0; head++)
        {
            Span<float> row = selection.ScoreBuffer(batch, head, width);
            new ReadOnlySpan<float>(scores + (long)head * prefix, prefix).CopyTo(row);
            row[prefix..].Clear();
        }
    }

    private struct HeadWork : ICpuWork
    {
        public required float* Scores;
        public required int Prefix;
        public required int* Kept;
        public required int Batch;
        public required SequenceShape Sequence;
        public required TokenSelection Selection;

        public readonly void Execute(int item, int worker)
        {
            var scores = new ReadOnlySpan<float>(Scores + (long)item * Prefix, Prefix);
            Span<int> positions = Selection.Buffer(Batch, item);
            int count = Kept[item];
            if (count < Prefix)
                Compact(scores, count, positions);
            else
                Iota(positions[..count], 0);
            int end = count + Sequence.KeyLength - Prefix;
            Iota(positions[count..end], Prefix);
            int queryBegin = Sequence.FirstQuery <= 0 ? 0 : LowerBound(positions[..end], Sequence.FirstQuery);
            Selection.SetCounts(Batch, item, end, queryBegin);
        }
    }

    /// <summary>Positions of the <paramref name="kept"/> highest scores, ascending.</summary>
    [SkipLocalsInit]
    private static void Compact(ReadOnlySpan<float> scores, int kept, Span<int> positions)
    {
        if (kept == 0)
            return;
        // The key of the kept-th highest score, digit by digit from the top: `tied` is how many of the scores that begin
        // with `threshold` are still wanted.
        Span<int> counts = stackalloc int[1 << DigitBits];
        uint threshold = 0;
        int tied = kept;
        int shift = 32;
        while (shift > 0)
        {
            int width = Math.Min(DigitBits, shift);
            int upper = shift;
            shift -= width;
            counts.Clear();
            foreach (float score in scores)
            {
                uint key = Key(score);
                if (upper == 32 || key >> upper == threshold)
                    counts[(int)((key >> shift) & ((1u << width) - 1))]++;
            }
            int digit = (1 << width) - 1;
            for (; counts[digit] < tied; digit--)
                tied -= counts[digit];
            threshold = (threshold << width) | (uint)digit;
        }
        int count = 0;
        for (int t = 0; count < kept; t++)
        {
            uint key = Key(scores[t]);
            // Written always and kept by the increment, because a branch here would be a coin toss.
            positions[count] = t;
            bool takesTie = key == threshold && tied > 0;
            tied -= takesTie ? 1 : 0;
            count += key > threshold || takesTie ? 1 : 0;
        }
    }

    /// <summary>Unsigned integers in the order of the scores; NaN is lowest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Key(float score)
    {
        int bits = BitConverter.SingleToInt32Bits(score);
        uint key = (uint)(bits ^ ((bits >> 31) | int.MinValue));
        return float.IsNaN(score) ? 0 : key;
    }

    private static int LowerBound(ReadOnlySpan<int> ascending, int value)
    {
        int index = ascending.BinarySearch(value);
        return index < 0 ? ~index : index;
    }

    private static void Iota(Span<int> span, int first)
    {
        for (int i = 0; i < span.Length; i++)
            span[i] = first + i;
    }
}
