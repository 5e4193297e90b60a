namespace AttnCompose.Models.Tests;

public sealed unsafe class PackedMatrixTests
{
    [Theory]
    [InlineData(512)]
    [InlineData(256)]
    public void ProductsAgreeWithDouble(int vectorBits)
    {
        for (int seed = 0; seed < 120; seed++)
        {
            var random = new Random(seed);
            int rows = random.Next(1, 14), inputs = random.Next(1, 300), outputs = random.Next(1, 150);
            bool accumulate = random.Next(2) == 0;
            float[] weights = Floats(random, outputs * inputs);
            float[] x = Floats(random, rows * (inputs + 3)), y = Floats(random, rows * (outputs + 5));
            float[] before = [.. y];
            using var matrix = Pack(weights, outputs, inputs, vectorBits);
            fixed (float* from = x, to = y)
                matrix.Multiply(from, inputs + 3, rows, to, outputs + 5, accumulate);
            for (int r = 0; r < rows; r++)
            {
                for (int n = 0; n < outputs + 5; n++)
                {
                    int at = r * (outputs + 5) + n;
                    if (n >= outputs)
                    {
                        Assert.Equal(before[at], y[at]); // beyond the row: untouched
                        continue;
                    }
                    double sum = accumulate ? before[at] : 0, magnitude = Math.Abs(sum);
                    for (int k = 0; k < inputs; k++)
                    {
                        double product = (double)x[r * (inputs + 3) + k] * weights[n * inputs + k];
                        (sum, magnitude) = (sum + product, magnitude + Math.Abs(product));
                    }
                    double bound = (inputs + 1) * Math.Pow(2, -24) * magnitude + 1e-30;
                    Assert.True(Math.Abs(sum - y[at]) <= bound, $"seed {seed}, row {r}, output {n}: {y[at]} instead of {sum}");
                }
            }
        }
    }

    [Theory]
    [InlineData(512)]
    [InlineData(256)]
    public void ARowDoesNotDependOnItsNeighbours(int vectorBits)
    {
        const int Rows = 11, Inputs = 333, Outputs = 130;
        var random = new Random(1);
        float[] weights = Floats(random, Outputs * Inputs), x = Floats(random, Rows * Inputs);
        float[] together = new float[Rows * Outputs], alone = new float[Outputs];
        using var matrix = Pack(weights, Outputs, Inputs, vectorBits);
        fixed (float* from = x, all = together, one = alone)
        {
            matrix.Multiply(from, Inputs, Rows, all, Outputs, accumulate: false);
            for (int row = 0; row < Rows; row++)
            {
                matrix.Multiply(from + row * Inputs, Inputs, 1, one, Outputs, accumulate: false);
                Assert.Equal(alone, together.AsSpan(row * Outputs, Outputs).ToArray());
            }
        }
    }

    private static PackedMatrix Pack(float[] weights, int outputs, int inputs, int vectorBits) =>
        new(outputs, inputs, (row, to) => weights.AsSpan(row * inputs, inputs).CopyTo(to), vectorBits);

    private static float[] Floats(Random random, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)(random.NextDouble() * 2 - 1))];
}
