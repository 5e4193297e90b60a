using System.Numerics.Tensors;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>Blocks of queries and keys by their means, and the attention map between the means.</summary>
internal static class PooledRows
{
    /// <summary>
    /// Mean of the rows [begin, end) among those that take part, at least one, each less <paramref name="first"/>: 0 for keys,
    /// the position of the sequence's first query for queries.
    /// </summary>
    /// <param name="view">Queries or keys.</param>
    /// <param name="batch">The sequence.</param>
    /// <param name="head">A head of <paramref name="view"/>.</param>
    /// <param name="rows">The rows that take part.</param>
    /// <param name="begin">First row.</param>
    /// <param name="end">One past the last row.</param>
    /// <param name="first">What is taken off a position.</param>
    /// <param name="buffer">[dim], for a row.</param>
    /// <param name="mean">[dim].</param>
    public static void Mean<T>(
        in TensorView<T> view, int batch, int head, in RowSet rows, int begin, int end, int first, Span<float> buffer,
        Span<float> mean)
        where T : unmanaged
    {
        mean.Clear();
        for (int i = begin; i < end; i++)
        {
            ElementConvert.ToFloat<T>(view.Row(batch, head, rows.Position(i) - first), buffer);
            TensorPrimitives.Add(mean, buffer, mean);
        }
        TensorPrimitives.Divide(mean, end - begin, mean);
    }

    /// <summary>
    /// How alike the rows [begin, end) are: the mean over all pairs of them, a row with itself among them, of the cosine of their
    /// angle. It is the squared length of their mean direction; a row of zeroes has none and counts as 0.
    /// </summary>
    /// <param name="view">Queries or keys.</param>
    /// <param name="batch">The sequence.</param>
    /// <param name="head">A head of <paramref name="view"/>.</param>
    /// <param name="rows">The rows that take part.</param>
    /// <param name="begin">First row.</param>
    /// <param name="end">One past the last row, more than <paramref name="begin"/>.</param>
    /// <param name="first">What is taken off a position, as in <see cref="Mean"/>.</param>
    /// <param name="buffer">[dim], for a row.</param>
    /// <param name="direction">[dim], for the sum of directions.</param>
    public static float Similarity<T>(
        in TensorView<T> view, int batch, int head, in RowSet rows, int begin, int end, int first, Span<float> buffer,
        Span<float> direction)
        where T : unmanaged
    {
        direction.Clear();
        for (int i = begin; i < end; i++)
        {
            ElementConvert.ToFloat<T>(view.Row(batch, head, rows.Position(i) - first), buffer);
            float square = TensorPrimitives.SumOfSquares<float>(buffer);
            if (square != 0)
                TensorPrimitives.MultiplyAdd(buffer, 1 / MathF.Sqrt(square), direction, direction);
        }
        TensorPrimitives.Divide(direction, end - begin, direction);
        return TensorPrimitives.SumOfSquares<float>(direction);
    }

    /// <summary>A row of the map: softmax of scale * query . keys[j] over the elements of <paramref name="row"/>.</summary>
    /// <param name="query">[dim].</param>
    /// <param name="keys">[key blocks, dim], at least as many as the row is long.</param>
    /// <param name="scale">Factor of query times key.</param>
    /// <param name="row">Receives the row, at least one element.</param>
    public static void MapRow(ReadOnlySpan<float> query, ReadOnlySpan<float> keys, float scale, Span<float> row)
    {
        ScoreRow(query, keys, scale, row);
        Softmax(row);
    }

    /// <summary>row[j] = scale * query . keys[j].</summary>
    public static void ScoreRow(ReadOnlySpan<float> query, ReadOnlySpan<float> keys, float scale, Span<float> row)
    {
        for (int j = 0; j < row.Length; j++)
            row[j] = TensorPrimitives.Dot(query, keys.Slice(j * query.Length, query.Length)) * scale;
    }

    /// <summary>Softmax of at least one element, in place; NaN where there is no number but -inf.</summary>
    public static void Softmax(Span<float> row)
    {
        TensorPrimitives.Subtract(row, TensorPrimitives.Max<float>(row), row);
        TensorPrimitives.Exp<float>(row, row);
        TensorPrimitives.Divide(row, TensorPrimitives.Sum<float>(row), row);
    }
}
