namespace AttnCompose.Conformance;

/// <summary>Selectors that choose for each query block by itself, from scores of the key blocks that it may see.</summary>
public static partial class BlockSelectionOracle
{
    /// <summary>XAttention: antidiagonals of squares of pairs.</summary>
    public static BlockChoiceBand AntiDiagonal(BlockHead head, int stride, double threshold)
    {
        int keyGroups = (head.Keys + stride - 1) / stride;
        return ByQueryBlock(head, (i, visible) =>
        {
            int begin = i * head.BlockQuery / stride;
            int end = (Math.Min((i + 1) * head.BlockQuery, head.Queries) + stride - 1) / stride;
            var scores = new double[visible];
            for (int m = begin; m < end; m++)
            {
                int last = head.FirstDiagonal + Math.Min((m + 1) * stride, head.Queries) - 1;
                double[] row = [.. Enumerable.Range(0, keyGroups).Where(n => head.MaySee(last, n * stride)).Select(n => Mean(m, n))];
                Softmax(row);
                for (int n = 0; n < row.Length; n++)
                    scores[n * stride / head.BlockKey] += row[n] / (end - begin);
            }
            int[] forced = [.. Enumerable.Range(0, visible).Where(j => j == 0 || HoldsDiagonal(head, i, j))];
            double given = forced.Sum(j => scores[j]);
            foreach (int j in forced)
                scores[j] = 0;
            (int few, int many) = Covering(scores, threshold, head.ScoreError, given);
            return With(Highest(scores, few, many, head.ScoreError), forced);
        });

        // One query and one key of each sum; those beyond the end count as 0.
        double Mean(int m, int n)
        {
            double sum = 0;
            for (int s = 0; s < stride; s++)
            {
                int query = m * stride + stride - 1 - s, key = n * stride + s;
                if (query < head.Queries && key < head.Keys)
                    sum += Dot(head.Query.AsSpan(query * head.Dim, head.Dim), head.Key.AsSpan(key * head.Dim, head.Dim));
            }
            return head.Scale * sum / stride;
        }
    }

    /// <summary>The key blocks whose mean key the mean query likes best, and those on the diagonal.</summary>
    public static BlockChoiceBand PooledTopK(BlockHead head, int topK) => ByQueryBlock(head, (i, visible) =>
    {
        int[] current = [.. Enumerable.Range(0, visible).Where(j => HoldsDiagonal(head, i, j))];
        int[] others = [.. Enumerable.Range(0, visible).Except(current)];
        double[] scores = [.. others.Select(j => Score(i, j, magnitudes: false))];
        // Means and their product in float32, from the sizes of what is added up.
        double error = others.Length == 0 ? 0 : Math.ScaleB(others.Max(j => Score(i, j, magnitudes: true)), -20);
        Band band = Highest(scores, topK, topK, error);
        return With(new Band([.. band.Must.Select(n => others[n])], [.. band.May.Select(n => others[n])]), current);

        double Score(int i, int j, bool magnitudes) => head.Scale
            * Dot(Mean(head, head.Query, QueriesOf(head, i), magnitudes), Mean(head, head.Key, head.KeysOf(j), magnitudes));
    });

    /// <summary>
    /// The key blocks that cover the map between means, and those whose rows are not alike; null where float32 may find some alike
    /// or not.
    /// </summary>
    public static BlockChoiceBand? PooledCoverage(BlockHead head, double tau, double theta)
    {
        double[] keys = [.. Enumerable.Range(0, head.KeyBlocks).Select(j => Similarity(head.Key, head.KeysOf(j)))];
        double[] queries = [.. Enumerable.Range(0, head.QueryBlocks).Select(i => Similarity(head.Query, QueriesOf(head, i)))];
        if (keys.Concat(queries).Any(similarity => Math.Abs(similarity - theta) < 1e-5))
            return null;
        return ByQueryBlock(head, (i, visible) =>
        {
            int[] all = [.. Enumerable.Range(0, visible)];
            if (queries[i] < theta)
                return With(new Band([], []), all);
            int[] similar = [.. all.Where(j => keys[j] >= theta)];
            double[] query = Mean(head, head.Query, QueriesOf(head, i));
            double[] row = [.. similar.Select(j => head.Scale * Dot(query, Mean(head, head.Key, head.KeysOf(j))))];
            Softmax(row);
            (int few, int many) = Covering(row, tau, head.ScoreError);
            Band band = Highest(row, few, many, head.ScoreError);
            return With(
                new Band([.. band.Must.Select(n => similar[n])], [.. band.May.Select(n => similar[n])]),
                all.Where(j => keys[j] < theta || HoldsDiagonal(head, i, j)));
        });

        // Mean cosine of all pairs of rows.
        double Similarity(float[] data, IEnumerable<int> rows)
        {
            int[] all = [.. rows];
            double[] lengths = [.. all.Select(row => Math.Sqrt(Product(row, row)))];
            double sum = 0;
            for (int a = 0; a < all.Length; a++)
            {
                for (int b = 0; b < all.Length; b++)
                    sum += lengths[a] == 0 || lengths[b] == 0 ? 0 : Product(all[a], all[b]) / (lengths[a] * lengths[b]);
            }
            return sum / all.Length / all.Length;

            double Product(int a, int b) => Dot(data.AsSpan(a * head.Dim, head.Dim), data.AsSpan(b * head.Dim, head.Dim));
        }
    }

    /// <summary>
    /// SeerAttention: the key blocks that the gate of the head scores highest, or by their share of its softmax where count is 0.
    /// </summary>
    public static BlockChoiceBand GateWeights(BlockHead head, int count, double threshold)
    {
        // Sums in float32 are off by this much of what they add up, at most.
        double rounding = Math.ScaleB(1, -21);
        int gateDim = head.Gate.Query.Length / head.Dim;
        (double[] Value, double[] Error)[] keys = [.. Enumerable.Range(0, head.KeyBlocks).Select(j =>
        {
            double[] Extreme(Func<IEnumerable<double>, double> of) =>
                [.. Enumerable.Range(0, head.Dim).Select(d => of(head.KeysOf(j).Select(key => (double)head.Key[key * head.Dim + d])))];
            double[] pooled = [.. Extreme(Enumerable.Max), .. Extreme(Enumerable.Min), .. Mean(head, head.Key, head.KeysOf(j))];
            double[] exact = new double[2 * head.Dim];
            return Product(pooled, [.. exact, .. Mean(head, head.Key, head.KeysOf(j), magnitudes: true)], head.Gate.Key);
        })];
        return ByQueryBlock(head, (i, visible) =>
        {
            (double[] query, double[] error) = Product(
                Mean(head, head.Query, QueriesOf(head, i)), Mean(head, head.Query, QueriesOf(head, i), magnitudes: true), head.Gate.Query);
            double[] scores = [.. Enumerable.Range(0, visible).Select(j => Dot(query, keys[j].Value) / Math.Sqrt(gateDim))];
            // Of the difference of two scores.
            double apart = 2 * Enumerable.Range(0, visible).Select(ErrorOf).DefaultIfEmpty().Max();
            int[] forced = [.. Enumerable.Range(0, visible).Where(j => j == 0 || HoldsDiagonal(head, i, j))];
            int[] others = [.. Enumerable.Range(0, visible).Except(forced)];
            if (count > 0)
            {
                Band band = Highest([.. others.Select(j => scores[j])], count, count, apart);
                return With(new Band([.. band.Must.Select(n => others[n])], [.. band.May.Select(n => others[n])]), forced);
            }
            Softmax(scores);
            double factor = Math.Exp(apart) + 1e-5;
            return With(
                new Band([.. others.Where(j => scores[j] / factor > threshold || threshold == 0)], [.. others.Where(j => scores[j] * factor >= threshold)]),
                forced);

            double ErrorOf(int j) => Enumerable.Range(0, gateDim).Sum(c =>
                error[c] * (Math.Abs(keys[j].Value[c]) + keys[j].Error[c])
                + Math.Abs(query[c]) * (keys[j].Error[c] + rounding * Math.Abs(keys[j].Value[c]))) / Math.Sqrt(gateDim);
        });

        // A vector times the gate; `magnitudes` says by how much, times the rounding, its elements are off.
        (double[] Value, double[] Error) Product(double[] vector, double[] magnitudes, float[] weights)
        {
            var (value, error) = (new double[gateDim], new double[gateDim]);
            for (int n = 0; n < weights.Length; n++)
            {
                value[n % gateDim] += vector[n / gateDim] * weights[n];
                error[n % gateDim] += rounding * (Math.Abs(vector[n / gateDim]) + magnitudes[n / gateDim]) * Math.Abs(weights[n]);
            }
            return (value, error);
        }
    }

    private static IEnumerable<int> QueriesOf(BlockHead head, int queryBlock) => Enumerable.Range(
        queryBlock * head.BlockQuery, Math.Min(head.BlockQuery, head.Queries - queryBlock * head.BlockQuery));

    private static bool HoldsDiagonal(BlockHead head, int queryBlock, int keyBlock) =>
        head.Diagonals(queryBlock).Any(d => d >= 0 && d / head.BlockKey == keyBlock);

    private static Band With(Band band, IEnumerable<int> forced) => new([.. band.Must, .. forced], [.. band.May, .. forced]);

    // The choice of each query block among the key blocks that it may see: those from the first on.
    private static BlockChoiceBand ByQueryBlock(BlockHead head, Func<int, int, Band> choose)
    {
        bool[,] must = new bool[head.QueryBlocks, head.KeyBlocks], may = new bool[head.QueryBlocks, head.KeyBlocks];
        for (int i = 0; i < head.QueryBlocks; i++)
        {
            Band band = choose(i, Enumerable.Range(0, head.KeyBlocks).Count(j => head.MayVisit(i, j)));
            for (int j = 0; j < head.KeyBlocks; j++)
                (must[i, j], may[i, j]) = (band.Must.Contains(j), band.May.Contains(j));
        }
        return new BlockChoiceBand { Must = must, May = may };
    }
}
