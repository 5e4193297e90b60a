using System.Globalization;
using AttnCompose.Cuda;

namespace AttnCompose.Conformance;

/// <summary>
/// <see cref="DeviceReference"/> against <see cref="AttentionOracle"/>, both in double: random configurations small enough for
/// the oracle, half of them over a random selection of keys.
/// </summary>
public sealed class ReferenceSuite(CudaDevice device)
{
    private const int Configurations = 16;
    private const long MostMultiplyAdds = 1L << 21;

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        using var reference = new DeviceReference(device);
        for (int seed = 0; seed < Configurations; seed++)
        {
            PipelineConfig config = ReadyConfigs.Random(seed) with
            {
                Sparse = seed % 2 == 1, Blocks = false, Layout = (TensorLayout)(seed / 2 % 4),
            };
            var inputs = new PipelineCase(config.Within(MostMultiplyAdds, anyHeadDim: false));
            yield return SuiteCheck.Of(
                $"reference kernel: {inputs.Config}",
                () => config.Element == ElementType.BFloat16
                    ? Check<BFloat16>(reference, inputs)
                    : Check<Half>(reference, inputs));
        }
    }

    private string? Check<T>(DeviceReference reference, PipelineCase inputs)
        where T : unmanaged
    {
        PipelineConfig config = inputs.Config;
        (int heads, int dim, int keys) = (config.QueryHeads, config.HeadDim, config.KeyLength);
        using var query = new DeviceImage<T>(device, inputs.Image<T>(heads, config.QueryLength, dim, inputs.Query));
        using var key = new DeviceImage<T>(device, inputs.Image<T>(config.KeyValueHeads, keys, dim, inputs.Key));
        using var value = new DeviceImage<T>(device, inputs.Image<T>(config.KeyValueHeads, keys, dim, inputs.Value));
        using var selection = new CudaTokenSelection(device, config.Batch, heads, keys);
        var random = new Random(config.Seed);
        int[][] kept = [.. Enumerable.Range(0, config.Batch * heads).Select(row =>
        {
            int share = config.Sparse ? random.Next(1, 5) : 4;
            return Enumerable.Range(0, inputs.Sequence(row / heads).KeyLength).Where(_ => random.Next(4) < share).ToArray();
        })];
        selection.Positions.CopyFrom(
            [.. kept.SelectMany(positions => positions.Concat(Enumerable.Repeat(-1, keys - positions.Length)))]);
        ReferenceRow[] rows =
        [
            .. from row in Enumerable.Range(0, config.Batch * heads)
               let sequence = inputs.Sequence(row / heads)
               from i in Enumerable.Range(0, sequence.QueryLength)
               select new ReferenceRow(row / heads, row % heads, i, sequence.FirstQuery + i, kept[row].Length),
        ];
        var exact = reference.Attend(query.View, key.View, value.View, rows, config.Sparse ? selection : null);
        var rounded = reference.Attend(
            query.View, key.View, value.View, rows, config.Sparse ? selection : null, roundsWeights: true);
        double largestValue = inputs.Value.Where(float.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max();
        var truth = new double[config.QueryLength * dim];
        var truthSums = new double[config.QueryLength];
        int at = 0;
        for (int row = 0; row < config.Batch * heads; row++)
        {
            SequenceShape sequence = inputs.Sequence(row / heads);
            int[] queries = [.. Enumerable.Range(0, sequence.QueryLength)];
            inputs.Attend<double>(row / heads, row % heads, kept[row], queries, truth, truthSums);
            for (int i = 0; i < sequence.QueryLength; i++, at++)
            {
                // Both have the same scores but for the order of a sum in double.
                if (!(Math.Abs(exact.LogSumExp[at] - truthSums[i]) <= 1e-10 || exact.LogSumExp[at] == truthSums[i]))
                    return Text($"{rows[at]}: log-sum-exp {exact.LogSumExp[at]}, the oracle has {truthSums[i]}");
                for (int d = 0; d < dim; d++)
                {
                    (double right, double output, double yardstick) =
                        (truth[i * dim + d], exact.Output[at * dim + d], rounded.Output[at * dim + d]);
                    if (!(Math.Abs(output - right) <= 1e-10 * largestValue))
                        return Text($"{rows[at]}, column {d}: {output}, the oracle has {right}");
                    // Weights rounded to 8 bits at least, so each is off by 2^-8 of itself at most.
                    if (!(Math.Abs(yardstick - right) <= largestValue / 256))
                        return Text($"{rows[at]}, column {d}: {yardstick} with rounded weights, the oracle has {right}");
                }
            }
        }
        return null;
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
