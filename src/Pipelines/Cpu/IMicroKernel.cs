namespace AttnCompose.Pipelines.Cpu;

/// <summary>
/// The register-blocked inner loops of attention for one vector width. A struct used as a type argument, so that a loop is
/// compiled for its width and calls cost nothing.
/// </summary>
/// <remarks>
/// Four layouts, all float32, the first three made by <see cref="Packing{TKernel}"/>:
/// <list type="bullet">
/// <item><em>query block</em>: <see cref="Rows"/> queries, dimension by dimension: <c>block[i * Rows + r]</c>;</item>
/// <item><em>key panel</em>: <see cref="Columns"/> keys, dimension by dimension: <c>panel[i * Columns + j]</c>;</item>
/// <item><em>value panel</em>: some keys, each with a run of its columns: <c>panel[j * columns + c]</c>, where columns is
/// <see cref="Columns"/>, or <see cref="Lanes"/> for what is left of a row;</item>
/// </list>
/// and the <em>score tile</em>, whose rows are <see cref="TileKeys"/> floats apart: a constant, so that the loops address a
/// whole block of rows from one register. Panels, blocks and tiles begin on 64-byte boundaries. What a row gets depends on no
/// other row of its block.
/// </remarks>
internal interface IMicroKernel
{
    /// <summary>
    /// Keys of a tile, and floats from one row of a score tile to the next: a multiple of every kernel's
    /// <see cref="Columns"/>, and no power of two, which would put the rows of a block into the same cache sets.
    /// </summary>
    const int TileKeys = 192;

    /// <summary>Queries of a tile: a multiple of every kernel's <see cref="Rows"/>.</summary>
    const int TileQueries = 96;

    /// <summary>Queries of a block.</summary>
    static abstract int Rows { get; }

    /// <summary>Keys of a key panel, and columns of a value panel; twice <see cref="Lanes"/>.</summary>
    static abstract int Columns { get; }

    /// <summary>Floats of a vector; at least <see cref="Rows"/>, so that a vector holds a number for each row.</summary>
    static abstract int Lanes { get; }

    /// <summary>
    /// Scores of a query block against a key panel:
    /// <c>scores[r * TileKeys + j] = sum over i &lt; dim of block[i * Rows + r] * panel[i * Columns + j]</c>.
    /// </summary>
    static abstract unsafe void Scores(float* block, float* panel, int dim, float* scores);

    /// <summary>
    /// Weighted sum of a value panel <see cref="Columns"/> wide, added to what was there after scaling it:
    /// <c>output[r * outputStride + c] = factors[r] * output[r * outputStride + c] + sum over j &lt; count of
    /// weights[r * TileKeys + j] * panel[j * Columns + c]</c>.
    /// </summary>
    static abstract unsafe void Accumulate(
        float* weights, float* panel, int count, float* factors, float* output, nint outputStride);

    /// <summary>The same for a value panel <see cref="Lanes"/> wide.</summary>
    static abstract unsafe void AccumulateHalf(
        float* weights, float* panel, int count, float* factors, float* output, nint outputStride);

    /// <summary>
    /// One step of the online softmax in base 2 over a block of scores, in place: scores become 2^(score - new maximum), and
    /// the maximum and sum of each row are brought up to date. Row r has <c>min(limit, visible + r * step)</c> scores, none
    /// where that is negative; what lies behind them, up to <paramref name="limit"/> rounded up to <see cref="Lanes"/>,
    /// becomes 0.
    /// </summary>
    /// <param name="scores"><see cref="Rows"/> rows of scores.</param>
    /// <param name="limit">Scores that a row has at most; at least 1.</param>
    /// <param name="visible">Scores that row 0 has.</param>
    /// <param name="step">Scores that a row has more than the row before: 1 under a causal mask, else 0.</param>
    /// <param name="maxima"><see cref="Lanes"/> running maxima, -inf at first.</param>
    /// <param name="sums"><see cref="Lanes"/> running sums, 0 at first.</param>
    /// <param name="factors">
    /// Receives 2^(old maximum - new maximum), 0 where either is -inf: the factors for <see cref="Accumulate"/>.
    /// </param>
    static abstract unsafe void Softmax(
        float* scores, int limit, int visible, int step, float* maxima, float* sums, float* factors);

    /// <summary>
    /// values[i] = 2^values[i] for <see cref="Lanes"/> values of at most 127, within an ulp; -inf gives +0, NaN stays NaN.
    /// </summary>
    static abstract unsafe void Exp2(float* values);

    /// <summary>Multiplies <paramref name="count"/> values by a factor. Any length, any alignment.</summary>
    static abstract unsafe void Multiply(float* values, int count, float factor);

    /// <summary>result[i] = values[i] / divisor for <paramref name="count"/> values, a multiple of 8.</summary>
    static abstract unsafe void Divide(float* values, int count, float divisor, float* result);
}
