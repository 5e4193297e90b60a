using System.Runtime.CompilerServices;
using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>Row source over the selected tokens of each query head.</summary>
/// <param name="selection">The selection; read when <see cref="Rows"/> is called, so it may be filled later.</param>
public readonly struct GatheredRows(TokenSelection selection) : IRowSource
{
    /// <summary>True: heads of one key/value group choose for themselves.</summary>
    public static bool DiffersByQueryHead => true;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public RowSet Rows(in SequenceShape sequence, int batch, int queryHead) =>
        new(selection.Positions(batch, queryHead), selection.QueryBegin(batch, queryHead));
}
