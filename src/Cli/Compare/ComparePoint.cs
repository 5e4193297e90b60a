namespace AttnCompose.Cli.Compare;

/// <summary>Which rows an error is about.</summary>
internal enum ErrorMeasure
{
    /// <summary>Every row: a row that a token selection leaves out is 0 and counts as wrong.</summary>
    All,

    /// <summary>Rows that the pipeline computed: how well it attends where it does.</summary>
    Computed,

    /// <summary>The last 128 rows, from which a model goes on.</summary>
    Last,
}

/// <summary>One pipeline with some options on one set of tensors.</summary>
internal sealed record ComparePoint
{
    /// <summary>Name of the tensors.</summary>
    public required string Tensors { get; init; }

    /// <summary>Name of the pipeline.</summary>
    public required string Pipeline { get; init; }

    /// <summary>The options that were set, as on a command line.</summary>
    public required string Settings { get; init; }

    /// <summary>Pairs of query and key that are visited over those of the causal mask.</summary>
    public double Density { get; init; }

    /// <summary>||output - dense|| / ||dense|| over the rows of each measure.</summary>
    public (double All, double Computed, double Last) Error { get; init; }

    /// <summary>Largest difference of an element from dense, over the rows that were computed.</summary>
    public double LargestError { get; init; }

    /// <summary>Milliseconds of a call, selection included: the median.</summary>
    public double Milliseconds { get; init; }

    /// <summary>The error by a measure.</summary>
    public double ErrorBy(ErrorMeasure measure) => measure switch
    {
        ErrorMeasure.All => Error.All,
        ErrorMeasure.Computed => Error.Computed,
        _ => Error.Last,
    };

    /// <summary>
    /// The time of a pipeline at an error: between the two neighbouring points that no other point beats in both, interpolated in
    /// the logarithms of error and time; that of the fastest point where even it is better than asked.
    /// </summary>
    /// <param name="points">Points of one pipeline.</param>
    /// <param name="measure">Whose error.</param>
    /// <param name="error">The error asked for, above 0.</param>
    /// <returns>Milliseconds; null where no point is as good.</returns>
    public static double? TimeAt(IEnumerable<ComparePoint> points, ErrorMeasure measure, double error)
    {
        var front = new List<(double Error, double Time)>();
        foreach (ComparePoint point in points.OrderBy(p => p.ErrorBy(measure)).ThenBy(p => p.Milliseconds))
        {
            if (front.Count == 0 || point.Milliseconds < front[^1].Time)
                front.Add((Math.Max(point.ErrorBy(measure), 1e-9), point.Milliseconds));
        }
        int above = front.FindIndex(point => point.Error > error);
        if (above == 0 || front.Count == 0)
            return null;
        if (above < 0)
            return front[^1].Time;
        ((double lowError, double slow), (double highError, double fast)) = (front[above - 1], front[above]);
        double share = (Math.Log(error) - Math.Log(lowError)) / (Math.Log(highError) - Math.Log(lowError));
        return Math.Exp(Math.Log(slow) + share * (Math.Log(fast) - Math.Log(slow)));
    }
}
