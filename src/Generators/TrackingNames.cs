namespace AttnCompose.Generators;

/// <summary>Names of the incremental steps, shared with the tests so that the two cannot drift.</summary>
internal static class TrackingNames
{
    public const string Parse = nameof(Parse);
    public const string Spec = nameof(Spec);
    public const string Plan = nameof(Plan);
    public const string Diagnostics = nameof(Diagnostics);
}
